"""Which part may import which: data flows one way, and so do imports."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
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
    "obstore",
}

PARTS = {"dags", "formats", "include", "local", "plugins", "serving", "spark_jobs", "stores", "tests"}
"""Ours; each of them names those that it may import."""

FORBIDDEN = {
    "dags": ML | PARTS - {"dags", "plugins", "include"},
    "plugins": ML | PARTS - {"plugins", "include", "formats", "stores"},
    "formats": {"airflow", "mlflow", "pandas", "pyspark", "sklearn"} | PARTS - {"formats"},
    "stores": ML - {"obstore"} | {"airflow"} | PARTS - {"stores"},
    "include": {"airflow"} | PARTS - {"include", "formats", "stores"},
    "spark_jobs": {"airflow", "mlflow", "sklearn"} | PARTS - {"spark_jobs", "include", "formats", "stores"},
    "serving": {"airflow", "boto3", "mlflow", "pandas", "pyspark", "sklearn"}
    | PARTS - {"serving", "formats", "stores"},
    "local": PARTS - {"local", "include", "stores"},
}  # fmt: skip


ALONE = {
    "formats/portable_model.py": {"mlflow", "pandas"},
    "include/check/serving_part.py": {"serving"},
}
"""What a file imports only where it is run for that: by another program by itself, or by `make check` in a checkout."""


ROUTES = "include/use_cases/*/serving/*.py"
"""What use cases add to the server: a part of it, in a folder of theirs."""


def imports(path: Path) -> Iterator[str]:
    """The top-level packages a file imports, wherever in it."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name.partition(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.level == 0 and node.module:
            yield node.module.partition(".")[0]


@pytest.mark.parametrize("part", FORBIDDEN)
def test_no_part_imports_what_it_must_not_know(part: str) -> None:
    files = sorted(path for path in (ROOT / part).rglob("*.py") if not path.match(ROUTES))
    assert files, f"{part}/ has no Python file: this test would assert nothing"
    offences = [
        f"{path.relative_to(ROOT)} imports {name}"
        for path in files
        for name in set(imports(path)) & FORBIDDEN[part] - ALONE.get(str(path.relative_to(ROOT)), set())
    ]
    assert not offences, offences


def test_a_use_cases_routes_import_only_what_the_servers_image_has() -> None:
    files = sorted(ROOT.glob(ROUTES))
    assert files
    for path in files:
        own = ".".join(path.parent.relative_to(ROOT).parts)
        tree = ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        named = [node.module or "" for node in tree if isinstance(node, ast.ImportFrom)]
        foreign = [name for name in named if name.startswith("include") and not f"{name}.".startswith(f"{own}.")]
        assert not foreign, path
        assert not set(imports(path)) & (FORBIDDEN["serving"] - {"include"}), path


def test_a_use_cases_spec_imports_only_the_standard_library_and_the_words_it_is_written_in() -> None:
    for path in sorted((ROOT / "include" / "use_cases").glob("*/spec.py")):
        assert set(imports(path)) <= {"__future__", "datetime", "include"}, path


def test_text_is_utf_8_whatever_the_locale() -> None:
    files = [path for part in FORBIDDEN for path in (ROOT / part).rglob("*.py")]
    offences = [
        f"{path.relative_to(ROOT)}:{node.lineno}"
        for path in files
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.Call) and of_the_locale(node)
    ]
    assert not offences, offences


@pytest.mark.parametrize(
    ("call", "depends"),
    [
        ("p.read_text()", True),
        ("p.write_text(text, newline='')", True),
        ("open(p)", True),
        ("open(p, 'w')", True),
        ("p.open('a')", True),
        ("p.read_text(encoding='utf-8')", False),
        ("p.read_text('utf-8')", False),
        ("open(p, 'rb')", False),
        ("lake.open(settings)", False),
    ],
)
def test_what_depends_on_the_locale_is_known(call: str, depends: bool) -> None:
    [node] = [node for node in ast.walk(ast.parse(call)) if isinstance(node, ast.Call)]
    assert of_the_locale(node) == depends


def of_the_locale(call: ast.Call) -> bool:
    """Whether a call reads or writes text in an encoding that it does not name."""
    name = call.func.attr if isinstance(call.func, ast.Attribute) else getattr(call.func, "id", "")
    if any(keyword.arg == "encoding" for keyword in call.keywords):
        return False
    if name in ("read_text", "write_text"):
        return len(call.args) <= (name == "write_text")
    given = [*call.args, *(keyword.value for keyword in call.keywords if keyword.arg == "mode")]
    modes = [str(argument.value) for argument in given if isinstance(argument, ast.Constant)]
    return name == "open" and (
        any(re.fullmatch(r"[rwax]t?\+?", mode) for mode in modes)
        or (isinstance(call.func, ast.Name) and len(given) == 1)
    )


def test_no_module_is_named_for_nothing() -> None:
    names = {path.stem for part in FORBIDDEN for path in (ROOT / part).rglob("*.py")}
    assert not names & {"utils", "util", "helpers", "helper", "common", "misc"}


def test_a_public_class_name_stands_for_one_thing() -> None:
    found: dict[str, list[str]] = {}
    for part in FORBIDDEN:
        for path in (ROOT / part).rglob("*.py"):
            for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
                if isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
                    found.setdefault(node.name, []).append(f"{path.relative_to(ROOT)}:{node.lineno}")
    twice = {name: places for name, places in found.items() if len(places) > 1}
    assert not twice, twice
