"""What `make check` prints, and how it ends."""

from __future__ import annotations

from pathlib import Path

import pytest
from pyspark.sql import SparkSession

from include.check.command import main
from include.check.finding import Mistake
from include.check.verdict import CheckVerdict
from include.errors import ExitCode
from tests.use_case_copy import ICE_CREAM, copied

FINDING = Mistake("spec.py", "cron", "is none")


@pytest.mark.parametrize(
    ("verdict", "code", "last"),
    [
        (CheckVerdict("a.b", (), 0.5), ExitCode.DONE, "a.b: 0 findings (0.5 s)"),
        (CheckVerdict("a.b", (FINDING,), 0.5), ExitCode.BAD_SETTINGS, "a.b: 1 finding (0.5 s)"),
        (
            CheckVerdict("a.b", (), 9, (FINDING,) * 2, (), "the lake"),
            ExitCode.BAD_DATA,
            "a.b: 2 findings on the lake (9.0 s)",
        ),
        (CheckVerdict("a.b", (), 9, (), ("x",)), ExitCode.BAD_DATA, "a.b: 0 findings, inconclusive (9.0 s)"),
    ],
)
def test_a_verdict_ends_with_its_line_and_code(verdict: CheckVerdict, code: ExitCode, last: str) -> None:
    assert verdict.exit_code is code
    assert verdict.lines()[-1] == last


@pytest.mark.spark
def test_every_use_case_named_is_checked_and_the_worst_one_counts(
    spark: SparkSession, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("NIGHTSHIFT_LAKE", str(tmp_path / "lake"))
    own_table = ("kiosk_sales", "copied_sales")
    edits = {
        "sources.py": ('"plans.csv"', '"plan.csv"'),
        "streams.py": own_table,
        "timetable.yaml": own_table,
    }
    with copied(tmp_path, edits) as package:
        monkeypatch.setenv("NIGHTSHIFT_USE_CASES", f"{ICE_CREAM}, {package}")
        assert main([]) is ExitCode.BAD_DATA
    first, second, third = capsys.readouterr().out.splitlines()
    assert first.startswith(f"{ICE_CREAM}: 0 findings on the source, 2026-06-29 (")
    assert second.startswith("  sources.py: source: ") and "plan.csv is not there" in second
    assert third.startswith("copied: 1 finding (")
