"""Plain English in documentation, docstrings, comments and messages: the worst habits stay out."""

from __future__ import annotations

import ast
import io
import re
import tokenize
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PAGES = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")])
FOLDERS = ("include", "formats", "stores", "serving", "plugins", "dags", "spark_jobs", "local", "benchmarks", "docs")
OTHERS = sorted(
    [ROOT / "Makefile", *(path for name in ("docker", "infra") for path in (ROOT / name).rglob("*") if path.is_file())]
)

HABITS = {
    r"\b(?:is|are|be|being|was|were) told\b": "say what the thing gets, knows or reports",
    r"\bso many\b|\bso much as\b": "give the number, or 'this many'",
    r"\banew\b": "again",
    r"\b(?:lies|lie|lay)\b": "is, are",
    r"\bwhoever\b": "name who: a caller, a reader, a process",
    r"\bspoken to\b": "connected to, addressed",
    r"\bwhat came of\b": "the outcome, the result",
    r"\bas ever\b": "as always, or nothing",
    r"(?<=, )for (?:nobody|nothing|it|they|there|then|no|he)\b": "because",
    r"\bnever forth\b|\bhence\b|\bthereof\b|\bwhereof\b": "plain words",
}
"""Pattern → what to write in its place."""


def habits(text: str) -> list[str]:
    """What is wrong with a text, one line for each habit in it."""
    flat = " ".join(text.split())
    return [
        f"{found[0]!r} in '…{flat[max(found.start() - 40, 0) : found.end() + 30]}…': {remedy}"
        for pattern, remedy in HABITS.items()
        for found in re.finditer(pattern, flat, re.IGNORECASE)
    ]


def prose(module: str) -> Iterator[str]:
    """A module's comments, docstrings and messages."""
    for token in tokenize.generate_tokens(io.StringIO(module).readline):
        if token.type == tokenize.COMMENT:
            yield token.string
    for node in ast.walk(ast.parse(module)):
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            yield node.value


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_documentation_is_plain(page: Path) -> None:
    assert habits(page.read_text(encoding="utf-8")) == []


@pytest.mark.parametrize("path", OTHERS, ids=lambda path: str(path.relative_to(ROOT)))
def test_recipes_and_manifests_are_plain(path: Path) -> None:
    assert habits(path.read_text(encoding="utf-8")) == []


@pytest.mark.parametrize("sentence", ["A step is told its day.", "It is done\nanew.", "It fails, for it has no file."])
def test_a_habit_is_found_across_lines(sentence: str) -> None:
    assert len(habits(sentence)) == 1


def test_prose_is_comments_docstrings_and_messages() -> None:
    module = '"""A docstring."""\nx = 1  # a comment\nraise ValueError(f"a message {x}")\n'
    assert sorted(text.strip() for text in prose(module)) == ["# a comment", "A docstring.", "a message"]


@pytest.mark.parametrize("folder", FOLDERS)
def test_code_is_plain(folder: str) -> None:
    found = [
        f"{path.relative_to(ROOT)}: {habit}"
        for path in sorted((ROOT / folder).rglob("*.py"))
        for text in prose(path.read_text(encoding="utf-8"))
        for habit in habits(text)
    ]
    assert found == []
