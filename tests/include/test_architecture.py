"""Which part may import which: data flows one way, and so do imports."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
ML = {
    "mlflow",
    "sklearn",
    "pandas",
    "pyspark",
    "great_expectations",
    "onnx",
    "onnxruntime",
    "numpy",
    "pyarrow",
    "boto3",
}

FORBIDDEN = {
    "dags": ML | {"serving", "spark_jobs", "tests"},
    "plugins": ML | {"serving", "spark_jobs", "dags", "tests"},
    "include": {"airflow", "dags", "plugins", "spark_jobs", "tests"},
    "spark_jobs": {"airflow", "dags", "plugins", "serving", "tests", "mlflow", "sklearn"},
    "serving": {
        "airflow", "dags", "plugins", "include", "spark_jobs", "tests", "pyspark", "mlflow", "pandas", "sklearn",
    },
}  # fmt: skip


def imports(path: Path) -> Iterator[str]:
    """The top-level packages a file imports, wherever in it."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name.partition(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.level == 0 and node.module:
            yield node.module.partition(".")[0]


@pytest.mark.parametrize("part", FORBIDDEN)
def test_no_part_imports_what_it_must_not_know(part: str) -> None:
    files = sorted((ROOT / part).rglob("*.py"))
    assert files, f"{part}/ has no Python file: this test would assert nothing"
    offences = [
        f"{path.relative_to(ROOT)} imports {name}" for path in files for name in set(imports(path)) & FORBIDDEN[part]
    ]
    assert not offences, offences


def test_a_use_cases_spec_imports_only_the_standard_library_and_the_words_it_is_written_in() -> None:
    for path in sorted((ROOT / "include" / "use_cases").glob("*/spec.py")):
        assert set(imports(path)) <= {"__future__", "datetime", "include"}, path


def test_no_module_is_named_for_nothing() -> None:
    names = {path.stem for part in FORBIDDEN for path in (ROOT / part).rglob("*.py")}
    assert not names & {"utils", "util", "helpers", "helper", "common", "misc"}
