"""Engines that share no code with our writer see exactly what is published; `make test-engines` downloads them."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path

import pytest

from tests.include.storage.test_delta_log import AT_ONCE, DAY, NEXT, WEEK, Rows, Tables, glob, sales

HERE = Path(__file__).parent
MADE = HERE.parents[1] / ".nightshift" / "engines"
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


@contextmanager
def started(name: str, folder: Path) -> Iterator[Engine]:
    python, jars = MADE / name / "bin" / "python", MADE / "jars"
    if not python.exists():
        pytest.skip("make test-engines makes its environment")
    argv = [
        str(python),
        str(HERE / f"read_by_{name}.py"),
        *([jars.read_text(encoding="utf-8")] if name == "spark" else []),
    ]
    with subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        yield Engine(process, folder)


@pytest.mark.parametrize("name", ["duckdb", "spark"])
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
    for name in ("duckdb", "spark"):
        with started(name, glob(tables)) as engine:
            assert engine.by_delta() == tables.published()
