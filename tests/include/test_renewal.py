"""What an edit renews: the table of docs/architecture.md, tried on a copy of the smallest use case, file by file."""

from __future__ import annotations

import importlib
import re
import shutil
import sys
from collections.abc import Iterator
from datetime import date
from pathlib import Path

import pyarrow as pa
import pytest

from include import identity
from include.quality.findings import QualityReport
from include.quality.outdated import Outdated, sorted_by
from include.settings import Settings
from include.step import Context
from include.steps.extract import ExtractArguments, extract
from include.steps.train import candidate_identity
from include.steps.validate import _passed_before, _subjects
from include.storage.lake import Lake, to_json
from include.use_case import load_use_case
from spark_jobs.features import _work

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[2]
PACKAGE = "edited_case"
DAY = date(2026, 5, 12)
STEPS = ("extract", "features", "validate", "train", "choose", "score")
EDITS = {
    "`contracts.py`: a column or a rule": (
        "contracts.py",
        "minimum=-20, maximum=50, note",
        "minimum=-21, maximum=50, note",
    ),
    "`contracts.py`: what only judges a day": (
        "contracts.py",
        'order=("kiosk_day",),\n    ),\n}',
        'order=("kiosk_day",), min_volume=0.1,\n    ),\n}',
    ),
    "`sources.py`": ("sources.py", "return TabularSource(", "return TabularSource(  # the same\n"),
    "`features.py`, what it imports, files that it reads": ("features.py", "F.avg", "F.max"),
    "`feature_contract.py`": ("feature_contract.py", "minimum=0, maximum=1", "minimum=0, maximum=2"),
    "`label.py`": ("label.py", '.astype("float64")', '.astype("float64").abs()'),
    "`candidates.py`": ("candidates.py", '"max_iter": 30', '"max_iter": 31'),
    "`gates.py`: `slices`, `min_slice_rows`": ("gates.py", 'slices=("kiosk",)', 'slices=("kiosk",), min_slice_rows=5'),
    "`gates.py`: another limit": ("gates.py", "max_slice_drop=0.5", "max_slice_drop=0.4"),
    "`lookup.py`": ("lookup.py", '("kiosk",)', '("forecast",)'),
    "`spec.py`: `timezone`, `day_starts`": ("spec.py", '"Europe/Rome"', '"Europe/Paris"'),
    "`spec.py`: `holdout_days`": ("spec.py", "holdout_days=7", "holdout_days=6"),
    "`spec.py`: `title`, `owner`, `cron`, `carried`": ("spec.py", 'title="Will this', 'title="Will that'),
}
"""A row of the table, and an edit that is one."""


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of ice cream under another name, and its lake after a night."""
    root = tmp_path_factory.mktemp("made")
    folder = root / PACKAGE
    shutil.copytree(ROOT / "tests/use_cases/ice_cream", folder, ignore=shutil.ignore_patterns("__pycache__"))
    for path in folder.glob("*.py"):
        text = path.read_text().replace("tests.use_cases.ice_cream", PACKAGE)
        path.write_text(text.replace('"ice_cream"', '"edited"'))
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(root)
        patch.setattr(sys, "dont_write_bytecode", True)
        night(opened(root))
    forget()
    return root


@pytest.fixture
def root(made: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A copy of both, whose files may be edited."""
    shutil.copytree(made, tmp_path, dirs_exist_ok=True)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    yield tmp_path
    forget()


def forget() -> None:
    for name in [name for name in sys.modules if name.partition(".")[0] == PACKAGE]:
        del sys.modules[name]
    importlib.invalidate_caches()


def opened(root: Path) -> Context:
    """The use case as its files have it now."""
    forget()
    settings = Settings(lake=str(root / "lake"))
    use_case = load_use_case(PACKAGE)
    return Context(settings, use_case, Lake.open(settings, use_case.name))


def night(context: Context) -> None:
    """A lake on which every step's result says what it was made from; only raw data are real."""
    spec, lake = context.use_case.spec, context.lake
    extract(context, ExtractArguments(use_case=PACKAGE, date=DAY))
    work = _work(spec, lake, DAY, identity.features(spec), set())
    for target in work.ingredients:
        lake.publish(target, {"features.parquet": pa.table({"n": [1]})}, inputs=work.ingredients[target])
    for subject in _subjects(context.use_case, lake, DAY):
        report = QualityReport(str(subject.own), rows=1, history_days=0, history_rows=0, checks=1, findings=())
        content = {"report.json": to_json(report.to_dict())}
        lake.publish(subject.report, content, inputs=subject.made_from(lake))


def renewed(before: dict[str, object], context: Context) -> set[str]:
    """Which steps find their results out of date."""
    spec, lake = context.use_case.spec, context.lake
    now = identities(context)
    source = context.use_case.part("sources").source(context.settings)
    outdated = Outdated.among(lake, spec, sorted_by(spec, context.use_case.part("contracts").RAW, source), DAY)
    subjects = list(_subjects(context.use_case, lake, DAY))
    found = {
        "extract": bool(outdated.differences),
        "features": bool(_work(spec, lake, DAY, identity.features(spec), set()).ingredients),
        "validate": len(_passed_before(lake, subjects)) < len(subjects),
        **{step: now[step] != before[step] for step in ("train", "choose", "score")},
    }
    return {step for step in STEPS if found[step]}


def identities(context: Context) -> dict[str, object]:
    """What the results of the steps behind features follow besides each other."""
    use_case = context.use_case
    gates = use_case.part("gates").GATES
    recipes = use_case.part("candidates").CANDIDATES
    return {
        "train": [candidate_identity(context, recipe) for recipe in recipes],
        "choose": identity.decision(use_case.spec, gates),
        "score": identity.lookup(use_case.spec),
    }


def table() -> dict[str, set[str]]:
    """The rows of the table that are about a use case's files: an edit, and the steps that it renews by itself."""
    text = (ROOT / "docs" / "architecture.md").read_text()
    found = {}
    for row in re.findall(r"^\| (`\w+\.py`.*?) \| (.*?) \|", text, re.MULTILINE):
        found[row[0]] = set(re.findall(r"\*\*(\w+)\*\*", row[1]))
    return found


def test_the_table_has_a_row_for_every_edit_that_is_tried() -> None:
    assert {edit for edit in table() if edit in EDITS} == set(EDITS)


@pytest.mark.parametrize("edit", EDITS)
def test_an_edit_renews_what_the_table_says(root: Path, edit: str) -> None:
    context = opened(root)
    before = identities(context)
    assert renewed(before, context) == set(), "without an edit nothing is"

    name, old, new = EDITS[edit]
    path = root / PACKAGE / name
    text = path.read_text()
    assert text.count(old) == 1
    path.write_text(text.replace(old, new))

    assert renewed(before, opened(root)) == table()[edit]
