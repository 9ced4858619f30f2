"""Engines of other environments see exactly what is published; `make test-engines` downloads them.

DuckDB and Spark share no code with our writer; polars reads by the library that writes our log.
"""

from __future__ import annotations

import json
import re
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path

import pyarrow as pa
import pytest

from include.settings import Settings
from include.storage.delta_log import follow
from include.storage.lake import Dataset, Lake, Layer
from tests.include.storage.test_delta_log import AT_ONCE, DAY, NEXT, WEEK, Rows, Tables, glob, sales

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
MADE = ROOT / ".nightshift" / "engines"
"""Where `make test-engines` puts an environment for each."""
pytestmark = [pytest.mark.stack, pytest.mark.spark]


class Engine:
    """A process of another environment that reads the sales when it is asked."""

    def __init__(self, process: subprocess.Popen[str], folder: Path) -> None:
        self._process, self._folder = process, folder

    def by_delta(self) -> Rows:
        return self._ask("delta")

    def by_glob(self) -> Rows:
        return self._ask("glob")

    def _ask(self, how: str) -> Rows:
        assert self._process.stdin and self._process.stdout
        self._process.stdin.write(f"{how} {self._folder}\n")
        self._process.stdin.flush()
        return [(DAY.fromisoformat(day), amount) for day, amount in json.loads(self._process.stdout.readline())]


def python_of(name: str) -> Path:
    """The Python of an engine's environment; without one the test is skipped, and says so."""
    python = MADE / name / "bin" / "python"
    if not python.exists():
        pytest.skip(f"{name} is in an environment of its own: `make test-engines` makes it and runs this test")
    return python


def jars() -> str:
    """Delta's, for Spark."""
    python_of("spark")
    return (MADE / "jars").read_text(encoding="utf-8")


@contextmanager
def started(name: str, folder: Path) -> Iterator[Engine]:
    argv = [str(python_of(name)), str(HERE / f"read_by_{name}.py"), *([jars()] if name == "spark" else [])]
    with subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        yield Engine(process, folder)


@pytest.mark.parametrize("name", ["duckdb", "polars", "spark"])
def test_a_table_is_exact_before_while_and_after_a_day_is_forced(name: str, tmp_path: Path) -> None:
    tables = Tables(str(tmp_path / "lake"))
    with started(name, glob(tables)) as engine:
        # Given two days, one of them with a column that is new
        tables.publish(DAY, sales(1, 2))
        tables.publish(NEXT, sales(3))
        tables.follow()
        assert engine.by_delta() == engine.by_glob() == tables.published()

        # When a day is forced, then until its step's end its old rows are there, and after it the new ones
        tables.publish(DAY, sales(4).append_column("note", sales(4)["amount"]), force=True)
        assert engine.by_delta() == [(DAY, 1), (DAY, 2), (NEXT, 3)]
        tables.follow(WEEK)
        assert engine.by_delta() == tables.published() == [(DAY, 4), (NEXT, 3)]

        # And a plain glob has both until the vacuum
        assert engine.by_glob() == [(DAY, 1), (DAY, 2), (DAY, 4), (NEXT, 3)]
        tables.publish(NEXT + timedelta(days=1), sales(5))
        tables.follow(AT_ONCE)
        assert engine.by_glob() == engine.by_delta() == tables.published()


def test_a_log_of_many_commits_and_a_checkpoint_is_read(tmp_path: Path) -> None:
    tables = Tables(str(tmp_path / "lake"))
    for number in range(120):
        tables.publish(DAY + timedelta(days=number), sales(number))
        tables.follow()
    assert list(glob(tables).glob("_delta_log/*.checkpoint.parquet"))
    for name in ("duckdb", "polars", "spark"):
        with started(name, glob(tables)) as engine:
            assert engine.by_delta() == tables.published()


def written_of(engine: str, language: str) -> str:
    """What docs/reading.md says to type for an engine."""
    part = (ROOT / "docs" / "reading.md").read_text(encoding="utf-8").partition(f"\n## {engine}\n")[2]
    return part.partition(f"```{language}\n")[2].partition("```")[0]


def typed(name: str, script: str, tmp_path: Path) -> str:
    """What a script prints in an engine's environment, beside a lake with one day's two predictions."""
    lake = Lake.open(Settings(lake=str(tmp_path / ".nightshift" / "lake")), "flight_delay")
    probabilities = pa.table({"probability": [0.5, 0.25]})
    lake.publish(Dataset(Layer.PREDICTIONS, "nightly").on(DAY), {"predictions.parquet": probabilities})
    follow(lake, grace=WEEK)
    argv = [str(python_of(name)), "-c", script]
    done = subprocess.run(argv, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_the_lines_for_duckdb_run_as_they_are_written(tmp_path: Path) -> None:
    script = (
        "import duckdb, duckdb_extension_delta as delta, pathlib\n"
        "file = next(pathlib.Path(delta.__file__).parent.rglob('delta.duckdb_extension'))\n"
        "own = {'allow_unsigned_extensions': 'true', 'extension_directory': str(pathlib.Path.cwd() / 'own')}\n"
        # DuckDB would fetch the same file from its own site
        f"lines = {written_of('DuckDB', 'sql')!r}.replace('INSTALL delta', f\"INSTALL '{{file}}'\")\n"
        "print(duckdb.connect(config=own).execute(lines).fetchall())\n"
    )
    assert typed("duckdb", script, tmp_path) == "[(datetime.date(2026, 6, 15), 0.375)]\n"


def test_the_lines_for_polars_run_as_they_are_written(tmp_path: Path) -> None:
    lines = written_of("polars", "py").replace("s3://bucket/lake", ".nightshift/lake")

    said = typed("polars", lines, tmp_path)

    assert "2026-06-15" in said and "0.375" in said


def test_the_lines_for_spark_run_as_they_are_written(tmp_path: Path) -> None:
    lines = written_of("Spark", "py").replace("s3a://bucket/lake", ".nightshift/lake")
    # Maven has fetched the jars that the page names
    named = re.findall(r'"spark.jars.packages", "io.delta:(.*):(.*)"', lines)
    pom = (HERE / "pom.xml").read_text(encoding="utf-8")
    assert named == re.findall(r"<artifactId>(delta-spark.*)</artifactId>\s*<version>(.*)</version>", pom)
    lines = re.sub(r'"spark.jars.packages", ".*?"', f'"spark.jars", {jars().replace(":", ",")!r}', lines)

    said = typed("spark", lines, tmp_path)

    assert said.count("2026-06-15") == 2 and "0.25" in said
