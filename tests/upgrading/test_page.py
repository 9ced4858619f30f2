"""docs/upgrading.md names every private name that the code uses, and every test here is named there once."""

from __future__ import annotations

import ast
import re
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PAGE = (ROOT / "docs" / "upgrading.md").read_text(encoding="utf-8")
ENTRIES = [line.strip("| ").split(" | ") for line in PAGE.splitlines() if line.endswith(".py) |")]
NAMED = [re.fullmatch(r"\[`(test_\w+)`\]\(\.\./(tests/upgrading/test_\w+\.py)\)", entry[-1]) for entry in ENTRIES]
OURS = ("benchmarks", "dags", "docs", "formats", "include", "local", "plugins", "serving", "spark_jobs", "stores")
CODE = [path for folder in OURS for path in sorted((ROOT / folder).rglob("*.py"))]
PUBLIC = {"_exit", "_replace"}
"""Python's own, in its manual."""


def written() -> Iterator[tuple[str, str]]:
    """Each test of this folder and its file, except those of the page itself."""
    for path in sorted(Path(__file__).parent.glob("test_*.py")):
        if path != Path(__file__):
            for name in re.findall(r"^def (test_\w+)", path.read_text(encoding="utf-8"), re.MULTILINE):
                yield name, path.relative_to(ROOT).as_posix()


def test_each_entry_has_one_test_and_each_test_one_entry() -> None:
    assert len(ENTRIES) > 40
    assert all(NAMED), [entry[-1] for entry, named in zip(ENTRIES, NAMED, strict=True) if not named]
    assert Counter(named.groups() for named in NAMED if named) == Counter(written())


@pytest.mark.parametrize("entry", ENTRIES, ids=[entry[0] for entry in ENTRIES])
def test_an_entry_says_where_why_and_what_a_change_looks_like(entry: list[str]) -> None:
    _, where, why, seen, _ = entry
    files = re.findall(r"`([^`]+)`", where)
    assert files
    assert [name for name in files if not (ROOT / name).is_file()] == []
    assert min(len(why), len(seen)) > len("as above") - 1


@pytest.mark.parametrize("entry", ENTRIES, ids=[entry[0] for entry in ENTRIES])
def test_an_entry_s_code_is_in_the_files_it_names(entry: list[str]) -> None:
    what, where, *_ = entry
    text = "".join((ROOT / name).read_text(encoding="utf-8") for name in re.findall(r"`([^`]+)`", where))
    for code in re.findall(r"`([^`]+)`", what):
        words = re.findall(r"\w+", code)
        assert words[-1] in re.findall(r"\w+", text), code


def private(tree: ast.Module) -> Iterator[str]:
    """The private names of other packages that a module uses: read, imported, overridden."""
    foreign = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and node.module == "include.quality.quiet_gx":
            foreign |= {name.asname or name.name for name in node.names}  # it hands on what it imports
        elif isinstance(node, ast.ImportFrom) and node.module and _foreign(node.module):
            foreign |= {name.asname or name.name for name in node.names}
            yield from (name.name for name in node.names if _is_private(name.name))
            yield from (part for part in node.module.split(".") if _is_private(part))
        elif isinstance(node, ast.Import):
            foreign |= {name.name for name in node.names if _foreign(name.name)}
        elif isinstance(node, ast.Attribute) and _is_private(node.attr) and not _is_own(node.value):
            yield node.attr
        elif isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "getattr":
            yield from (str(one.value) for one in node.args if isinstance(one, ast.Constant) and _is_private(one.value))
        elif isinstance(node, ast.Constant) and isinstance(node.value, str):
            yield from re.findall(r"^from [a-z]\S+ import .*?\b(_[a-z]\w+)", node.value, re.MULTILINE)
    for made in [node for node in ast.walk(tree) if isinstance(node, ast.ClassDef)]:
        if any(ast.unparse(base).split(".")[0] in foreign for base in made.bases):
            yield from _of_the_base(made)


def _of_the_base(made: ast.ClassDef) -> Iterator[str]:
    """What a class reads of its base without having made it, and what it defines without ever reading it."""
    own = [node for node in ast.walk(made) if isinstance(node, ast.Attribute) and _is_own(node.value)]
    read = {node.attr for node in own if isinstance(node.ctx, ast.Load) and _is_private(node.attr)}
    stored = {node.attr for node in own if isinstance(node.ctx, ast.Store)}
    methods = [node for node in made.body if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)]
    defined = {node.name for node in methods}
    fields = {ast.unparse(node.target) for node in made.body if isinstance(node, ast.AnnAssign)}
    handed_over = {
        node.name for node in methods if {ast.unparse(one) for one in node.decorator_list} - {"staticmethod"}
    }
    yield from read - stored - defined - fields
    yield from {name for name in defined - handed_over if _is_private(name)} - read


def _is_own(value: ast.expr) -> bool:
    return isinstance(value, ast.Name) and value.id in ("self", "cls")


def _is_private(name: object) -> bool:
    return isinstance(name, str) and re.fullmatch(r"_[A-Za-z]\w*", name) is not None


def _foreign(module: str) -> bool:
    first, _, _ = module.partition(".")
    return first not in (*OURS, "tests") and first not in sys.stdlib_module_names


@pytest.mark.parametrize(
    ("module", "found"),
    [
        ("from mlflow.store import _registry", {"_registry"}),
        ("from uvicorn._types import Scope", {"_types"}),
        ("import sklearn\nsklearn.fit()._predictors", {"_predictors"}),
        ("origin = getattr(error, '_origin', None)", {"_origin"}),
        ('CODE = """\nfrom mlflow.db import _make\n"""', {"_make"}),
        ("from x import B\nclass A(B):\n def f(self): return self._theirs", {"_theirs"}),
        ("from x import B\nclass A(B):\n def _validate(self): ...", {"_validate"}),
        ("from x import B\nclass A(B):\n def f(self): self._own = 1; return self._own", set()),
        ("from include.quality.quiet_gx import PageView as B\nclass A(B):\n def _theirs(self): ...", {"_theirs"}),
        ("from x import B, check\nclass A(B):\n @check('day')\n def _possible(self): ...", set()),
        ("from include.step import _ours\nclass A:\n def f(self): return self._x", set()),
    ],
)
def test_a_private_name_is_found_however_it_is_used(module: str, found: set[str]) -> None:
    assert set(private(ast.parse(module))) == found


def test_every_private_name_in_the_code_is_on_the_page() -> None:
    used = {
        name: path.relative_to(ROOT).as_posix()
        for path in CODE
        for name in private(ast.parse(path.read_text(encoding="utf-8")))
        if name not in PUBLIC and not re.fullmatch(r"_[A-Z][A-Z_]+", name)
    }
    missing = {name: place for name, place in used.items() if name not in re.findall(r"\w+", PAGE)}
    assert missing == {}, "write an entry in docs/upgrading.md, with its test"
    assert {"_predictors", "_gateway", "_origin", "_validate_document"} <= set(used)
