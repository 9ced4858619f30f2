"""The glossary, whose words are those of the code."""

from __future__ import annotations

import ast
import re
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
FOLDERS = ("include", "formats", "stores", "serving", "plugins", "local", "spark_jobs")
ROWS = re.findall(r"^\| \*\*(.+?)\*\*.*\| (.+?) \|$", (ROOT / "docs" / "glossary.md").read_text(), re.MULTILINE)


@cache
def classes() -> dict[str, set[str]]:
    """The names in each class of the code: its fields, members and methods."""
    found: dict[str, set[str]] = {}
    for folder in FOLDERS:
        for path in (ROOT / folder).rglob("*.py"):
            for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
                if isinstance(node, ast.ClassDef):
                    inside = {child.id for child in ast.walk(node) if isinstance(child, ast.Name)}
                    found[node.name] = inside | {
                        child.name for child in node.body if isinstance(child, ast.FunctionDef)
                    }
    return found


@pytest.mark.parametrize(("word", "names"), ROWS, ids=[word for word, _ in ROWS])
def test_what_the_glossary_names_in_the_code_is_there(word: str, names: str) -> None:
    known = classes()
    for name in re.findall(r"`([^`]+)`(?! in )", names):
        if "/" in name:
            assert (ROOT / name).exists(), f"{word}: there is no {name}"
        elif name[0].isupper():
            named, _, inside = name.partition(".")
            assert named in known, f"{word}: there is no class {named}"
            assert not inside or inside in known[named], f"{word}: {named} has no {inside}"


def test_words_are_in_the_glossary_once() -> None:
    words = [word for word, _ in ROWS]
    assert len(words) > 30
    assert {word for word in words if words.count(word) > 1} == {"task", "worker"}, (
        "of a use case and of Airflow, of ingestion and of serving"
    )
