"""An adapter's mistakes, one at a time: each is found before any step, by file, field and remedy."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from include.check.package import check_package
from include.errors import ExitCode
from tests.use_case_copy import FLIGHT_DELAY, ICE_CREAM, ROOT, Edits, copied

SPEC = "spec.py"
STATIC = [sys.executable, "-m", "include.check", "--static", "--use-case"]

MISTAKES: dict[str, tuple[Edits, str]] = {
    "a zone that is none": (
        {SPEC: ("Europe/Rome", "Europe/Roma")},
        "spec.py:9: timezone='Europe/Roma': is no time zone; write an IANA name",
    ),
    "a cron of four fields": ({SPEC: ("30 0 * * *", "30 0 * *")}, "cron='30 0 * *': has 4 fields, not five; write"),
    "a cron that runs every hour": ({SPEC: ("30 0 * * *", "30 * * * *")}, "runs more than once a day"),
    "candidates by another name": (
        {SPEC: ('"historical_rates")', '"rates")')},
        "candidates.py: CANDIDATES: lacks rates, which spec.py names in candidates; add it there",
    ),
    "no candidates": ({SPEC: ('("hist_gradient_boosting", "historical_rates")', "()")}, "candidates=(): is empty"),
    "a candidate that spec.py lacks": (
        {SPEC: ('("hist_gradient_boosting", "historical_rates")', '("hist_gradient_boosting",)')},
        "spec.py: candidates: lacks historical_rates",
    ),
    "a text where a tuple is due": (
        {SPEC: ('("hist_gradient_boosting", "historical_rates")', '"historical_rates"')},
        "candidates='historical_rates': is a text; write a tuple",
    ),
    "a topic without a contract": (
        {SPEC: ('Topic("sales"))', 'Topic("sales"), Topic("visits"))')},
        "contracts.py: RAW: has no contract of topic visits; it has plans, sales; add it",
    ),
    "a contract by another name": ({"contracts.py": ('"sales",\n', '"sale",\n')}, "RAW['sales']: is a contract named"),
    "a key that is a number": (
        {"contracts.py": ('Column("kiosk_day", Kind.TEXT)', 'Column("kiosk_day", Kind.INTEGER)')},
        "contracts.py: RAW['plans'].kiosk_day: is the key, and a integer; make it Kind.TEXT",
    ),
    "a key that a table lacks": ({SPEC: ('key="kiosk_day"', 'key="kiosk_id"')}, "lacks the key kiosk_id that spec.py"),
    "an input that is no feature": (
        {"feature_contract.py": ('("forecast", "sold_out_rate")', '("forecast", "stock", "sold_out_rate")')},
        "candidates.py: Recipe hist_gradient_boosting: inputs: stock is no column of feature_contract.py; add it there",
    ),
    "an instant for an input": (
        {"feature_contract.py": ('("forecast", "sold_out_rate")', '("forecast", "as_of")')},
        "as_of is a instant, no number",
    ),
    "a slice that is no feature": (
        {"gates.py": ('("kiosk",)', '("town",)')},
        "gates.py: GATES.slices: town is no column of feature_contract.py; name one of them",
    ),
    "an estimator that is none": (
        {"candidates.py": ("Estimator.HIST_GRADIENT_BOOSTING", '"xgboost"')},
        "estimator 'xgboost' is none of hist_gradient_boosting",
    ),
    "no baseline": ({"candidates.py": (", baseline=True", "")}, "has no baseline, which the first champion must beat"),
    "labels with another signature": (
        {"label.py": ("outcomes: pa.Table, known_by: datetime", "outcomes: pa.Table")},
        "label.py:11: labels(outcomes): steps call labels(outcomes, known_by); take these",
    ),
    "features by the documentation of once": (
        {"features.py": ("build(spark: SparkSession, ", "build(spark: SparkSession, horizon: str, ")},
        "steps call build(spark, raw, wanted); take these",
    ),
    "a source that wants two things": (
        {"sources.py": ("source(settings: Settings)", "source(settings: Settings, root: str)")},
        "sources.py:13: source(settings, root): steps call source(settings)",
    ),
    "a function by another name": ({"label.py": ("def labels(", "def label(")}, "label.py: labels: is not in the"),
    "a file that is not there": ({"gates.py": None}, "gates.py: GATES: there is no such file"),
    "a syntax error": ({"features.py": ("def build(", "def build((")}, "features.py:15: syntax: "),
    "a heavy import in spec.py": (
        {SPEC: ("from datetime", "import pandas\nfrom datetime")},
        "spec.py:5: import pandas: spec.py is read by DAG files; import it where it is used, not here",
    ),
    "a heavy import in contracts.py": (
        {"contracts.py": ("from include", "import pyspark\nfrom include")},
        "contracts.py:5: import pyspark: every step that reads contracts.py would load pyspark",
    ),
    "an import of the use case it was copied from": (
        {"features.py": ("from copied.spec", f"from {ICE_CREAM}.spec")},
        f"features.py:12: import {ICE_CREAM}.spec: is of another use case, {ICE_CREAM}; import your own copied",
    ),
    "an import of a name that is not there": (
        {"candidates.py": ("import INPUTS", "import INPUTS, RATES")},
        "candidates.py:6: import RATES: copied.feature_contract names no RATES; correct the name",
    ),
    "a package that is not installed": (
        {"sources.py": ("from pathlib", "import nonesuch\nfrom pathlib")},
        "sources.py:5: import nonesuch: no package nonesuch is installed",
    ),
    "no as_of": (
        {"feature_contract.py": ('Column("as_of", Kind.INSTANT),', "")},
        "feature_contract.py: FEATURES: lacks it: add Column('as_of', Kind.INSTANT), required",
    ),
    "a column of ours": (
        {"feature_contract.py": ('Column("as_of"', 'Column("part", Kind.TEXT), Column("as_of"')},
        "FEATURES.part: the name is taken",
    ),
    "a carried column that is none": (
        {SPEC: ('carried=("kiosk", "forecast")', 'carried=("town",)')},
        "spec.py: carried: town is no column of plans; it has kiosk_day, date, kiosk, stock, forecast",
    ),
    "known_at of no instant": (
        {SPEC: ('Topic("sales")', 'Topic("sales", known_at="date")')},
        "spec.py: topic sales: known_at: date is a date; name an instant column",
    ),
    "late columns that are none": (
        {SPEC: ('Topic("sales")', 'Topic("sales", late={"sold_outt": "closed_at"})')},
        "spec.py: topic sales: late: sold_outt is no column of it; correct the name",
    ),
    "a horizon whose plan is not there yet": (
        {SPEC: ('Topic("plans", day_offset=1)', 'Topic("plans")')},
        "morning scores 1 days ahead, of which plans is not published yet; give topic plans a day_offset of 1 too",
    ),
    "an outcome that is no topic": ({SPEC: ('outcomes="sales"', 'outcomes="sale"')}, "outcomes='sale': is none of the"),
    "a run before its day is over": (
        {SPEC: ("day_starts=time(0, 0)", "day_starts=time(3, 0)")},
        "is due before its data day is over (day_starts=03:00)",
    ),
    "more held out than there is": ({SPEC: ("history_days=40", "history_days=7")}, "holdout_days=7: leaves none of"),
    "a rollout that is no plan": (
        {"gates.py": ("GATES =", "ROLLOUT = {}\nGATES =")},
        "gates.py: ROLLOUT: is a dict; make it a Plan",
    ),
    "a contract that cannot be made": (
        {"contracts.py": ("Kind.INTEGER, minimum=0)", "Kind.INTEGER, minimum=0, most=9)")},
        "contracts.py:26: import: TypeError: Column.__init__() got an unexpected keyword argument 'most'",
    ),
    "a reference to nothing": (
        {"contracts.py": (
            "RAW = {",
            "from dataclasses import replace\nfrom include.quality.contract import Reference\n"
            "_PLANS = Contract('plans', _KIOSK, ('kiosk_day',), ('kiosk_day',))\n"
            "RAW = {'kiosks': replace(_PLANS, name='kiosks', references=(Reference('kiosk', 'towns', 'name'),)),",
        )},
        "contracts.py: RAW: contract kiosks: the reference of kiosk to towns.name: there is no topic towns",
    ),
    "a timetable with a horizon that is none": (
        {"timetable.yaml": (
            "workers: [{name: one, topic: a, writes: b, shifts: "
            '{first: "00:00", last: "08:00", every: 4 h, duration: 1 h, zone: Europe/Rome}}]\n'
            "scoring: {name: soon, follows: one, horizon: noon, ahead: 2 h, at_most: 5 min}\n"
            "nightly_training: {at_most: 1 h}\n"
        )},
        "timetable.yaml: scoring.horizon: noon is no horizon of spec.py; name one of morning",
    ),
    "a timetable with a name that is taken": (
        {"timetable.yaml": ("name: till_worker", "name: rollback")},
        "timetable.yaml: workers.rollback: is the name of another DAG; choose another",
    ),
    "a stream whose table cannot be made": (
        {"streams.py": ('natural_key=("kiosk_day", "date")', 'natural_key=("kiosk_day",)')},
        "streams.py:18: import: topic tills: natural_key lacks date, which cuts its table; add it",
    ),
}  # fmt: skip


@pytest.mark.parametrize(("edits", "said"), MISTAKES.values(), ids=MISTAKES)
def test_a_mistake_is_found_by_file_field_and_remedy(tmp_path: Path, edits: Edits, said: str) -> None:
    with copied(tmp_path, edits) as package:
        found = [str(finding) for finding in check_package(package)]
    assert any(said in line for line in found), found
    assert all("\n" not in line for line in found)


@pytest.mark.parametrize("package", [ICE_CREAM, FLIGHT_DELAY])
def test_a_sound_package_has_no_finding(package: str) -> None:
    assert list(check_package(package)) == []


def test_several_mistakes_are_told_at_once(tmp_path: Path) -> None:
    edits: Edits = {"gates.py": ('("kiosk",)', '("town",)'), "label.py": ("def labels(", "def label(")}
    with copied(tmp_path, edits) as package:
        assert {finding.where for finding in check_package(package)} == {"gates.py", "label.py"}


@pytest.mark.stack
def test_the_static_part_loads_nothing_heavy() -> None:
    script = (
        "import sys; from include.check.command import check; "
        f"print([v.lines() for v in check(['{FLIGHT_DELAY}', '{ICE_CREAM}'], static=True)]); "
        "print(sorted({'pyspark', 'mlflow', 'sklearn', 'great_expectations', 'airflow'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "[]"


@pytest.mark.stack
@pytest.mark.parametrize(
    ("named", "code", "said"),
    [
        (ICE_CREAM, ExitCode.DONE, f"{ICE_CREAM}: 0 findings ("),
        ("include.use_cases.nonesuch", ExitCode.BAD_SETTINGS, "NIGHTSHIFT_USE_CASES lists packages"),
    ],
)
def test_the_command_says_a_line_a_finding_and_how_it_ended(named: str, code: ExitCode, said: str) -> None:
    done = subprocess.run([*STATIC, named], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == code
    assert said in done.stdout and done.stderr == ""
