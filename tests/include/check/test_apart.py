"""Use cases that run together have topics and tables of their own; a shared one is a line for each of them."""

from __future__ import annotations

from pathlib import Path

import pytest

from include.check.apart import check_apart
from include.check.command import static_verdict
from tests.use_case_copy import FLIGHT_DELAY, ICE_CREAM, Edits, copied

TABLE = ('table="kiosk_sales"', 'table="copied_sales"')
TOPIC = ('name="tills"', 'name="copied_tills"')
COLUMN = (
    'Column("closed_at", Kind.INSTANT))}',
    'Column("closed_at", Kind.INSTANT), Column("paid", Kind.NUMBER, required=False))}',
)


def found(tmp_path: Path, edits: Edits, *others: str) -> list[str]:
    """What is said of a changed copy of ice cream beside others."""
    with copied(tmp_path, edits) as package:
        return list(map(str, check_apart(package, others)))


def test_a_table_of_another_use_case_is_named(tmp_path: Path) -> None:
    said = f"streams.py: topic tills: table: kiosk_sales is a table of {ICE_CREAM} too; name another"
    assert found(tmp_path, {}, FLIGHT_DELAY, ICE_CREAM) == [said]
    assert found(tmp_path / "renamed", {"streams.py": TABLE}, FLIGHT_DELAY, ICE_CREAM) == []


def test_a_topic_that_another_use_case_declares_otherwise_is_named(tmp_path: Path) -> None:
    with copied(tmp_path, {"streams.py": TABLE}, name="before") as before:
        # A topic may have two readers, if both know its records alike
        assert found(tmp_path, {}, before) == []
        said = f"streams.py: topic tills: {before} declares other columns for it; name another, or declare the same"
        (tmp_path / "wider").mkdir()
        assert found(tmp_path / "wider", {"streams.py": COLUMN}, before) == [said]


def test_two_streams_of_one_table_are_named(tmp_path: Path) -> None:
    twice = "from dataclasses import replace\nSTREAMS = {name: replace(TILLS, name=name) for name in 'ab'}"
    (line,) = found(tmp_path, {"streams.py": ("STREAMS = {TILLS.name: TILLS}", twice)})
    assert line == "streams.py: topic b: table: kiosk_sales is topic a's too; name another"


@pytest.mark.parametrize(
    "edits", [{"streams.py": None, "timetable.yaml": None}, {"streams.py": "STREAMS = 1 / 0"}, {"spec.py": "SPEC = 1"}]
)
def test_one_without_streams_or_with_mistakes_in_them_is_passed_over(tmp_path: Path, edits: Edits) -> None:
    with copied(tmp_path, edits) as package:
        assert list(check_apart(package, [ICE_CREAM])) == list(check_apart(ICE_CREAM, [package, "no.such"])) == []


def test_a_use_case_is_checked_beside_those_of_the_deployment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with copied(tmp_path, {}) as package:
        monkeypatch.setenv("NIGHTSHIFT_USE_CASES", f"{ICE_CREAM},{package}")
        for checked, other in ((package, ICE_CREAM), (ICE_CREAM, package)):
            (mistake,) = static_verdict(checked).mistakes
            assert f"kiosk_sales is a table of {other} too" in str(mistake)
        monkeypatch.setenv("NIGHTSHIFT_USE_CASES", FLIGHT_DELAY)
        assert static_verdict(package).mistakes == ()
