"""The reference for authors of use cases, which is made from docstrings."""

from __future__ import annotations

import ast
import importlib
import inspect
from pathlib import Path

import pytest

from docs.reference import steps, use_case

ROOT = Path(__file__).resolve().parents[2]
PACKAGES = ("include/use_cases/flight_delay", "tests/use_cases/ice_cream")
NOT_OF_A_USE_CASE = ("include.settings", "include.errors")


def test_the_page_in_the_repository_is_of_the_docstrings_in_the_repository() -> None:
    for made in (use_case, steps):
        assert made.PAGE.read_text(encoding="utf-8") == made.page(), f"{made.PAGE.name} is stale: make reference"


@pytest.mark.parametrize("part", use_case.PARTS, ids=lambda part: part.file)
def test_every_class_that_a_package_uses_is_on_the_page(part: use_case.Part) -> None:
    described = set(part.classes) | {each for other in use_case.PARTS for each in other.classes}
    files = [ROOT / package / name for package in PACKAGES for name in part.file.split(", ")]
    used = set().union(*(_classes(path) for path in files if path.suffix == ".py" and path.exists()))
    assert used <= described


def _classes(path: Path) -> set[type]:
    """The platform's classes that a module imports."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and node.module and node.module not in NOT_OF_A_USE_CASE:
            if node.module.split(".")[0] not in ("include", "formats", "serving") or "use_cases" in node.module:
                continue
            module = importlib.import_module(node.module)
            found |= {each for name in node.names if inspect.isclass(each := getattr(module, name.name))}
    return found


def test_every_field_is_on_the_page_with_its_default() -> None:
    row = "| `max_quarantined` | `float` | `0.05` |"
    assert row in use_case.page()


def test_a_new_field_makes_another_page(monkeypatch: pytest.MonkeyPatch) -> None:
    from dataclasses import make_dataclass

    wider = make_dataclass("Wider", [("limit", "int", 3)], namespace={"__doc__": "Has a `limit`."})
    monkeypatch.setattr(use_case, "PARTS", (use_case.Part("wider.py", "A part.", (wider,)),))
    assert "| `limit` | `int` | `3` |" in use_case.page()
    assert "Has a `limit`." in use_case.page()
