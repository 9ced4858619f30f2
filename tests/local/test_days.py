"""A DATE that cannot be run for is refused before any work, in one line."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace
from datetime import UTC, date, datetime
from pathlib import Path

import pytest

from include.errors import ExitCode, SettingsError
from include.use_cases.flight_delay.spec import SPEC
from local.days import data_day, first_full_day
from tests.use_cases.ice_cream.spec import SPEC as ICE_CREAM

ROOT = Path(__file__).resolve().parents[2]
NOW = datetime(2026, 11, 21, 12, tzinfo=UTC)


def test_a_day_of_the_data_is_taken() -> None:
    assert data_day("2013-10-01", SPEC, replay=False, now=NOW) == date(2013, 10, 1)
    assert data_day(" 2013-12-30 ", SPEC, replay=False, now=NOW) == SPEC.last_day


@pytest.mark.parametrize("nothing", ["", "  "])
def test_no_date_at_all_is_asked_for(nothing: str) -> None:
    with pytest.raises(SettingsError, match=r"no DATE given: .* such as DATE=2013-"):
        data_day(nothing, SPEC, replay=False, now=NOW)


def test_without_a_date_it_is_the_first_day_with_a_whole_history() -> None:
    assert first_full_day(SPEC) == date(2013, 10, 1)
    assert first_full_day(ICE_CREAM) == date(2026, 6, 11)
    assert first_full_day(replace(ICE_CREAM, history_days=400)) == ICE_CREAM.last_day


@pytest.mark.parametrize("odd", ["yesterday", "2013-02-30", "01.10.2013", "2013-10-01; rm"])
def test_what_is_not_a_date_is_named(odd: str) -> None:
    with pytest.raises(SettingsError, match="not a date; write YYYY-MM-DD"):
        data_day(odd, SPEC, replay=False, now=NOW)


@pytest.mark.parametrize("outside", ["2012-12-31", "2013-12-31", "2026-01-01"])
def test_a_day_outside_the_data_is_told_what_there_is(outside: str) -> None:
    with pytest.raises(SettingsError, match=r"outside the data of flight_delay, which has 2013-01-01 to 2013-12-30"):
        data_day(outside, SPEC, replay=False, now=NOW)


def test_a_use_case_that_was_not_named_is_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("NIGHTSHIFT_USE_CASES", raising=False)
    with pytest.raises(SettingsError, match="NIGHTSHIFT_USE_CASES is not set: for another use case name its package"):
        data_day("2026-06-15", SPEC, replay=False, now=NOW)
    monkeypatch.setenv("NIGHTSHIFT_USE_CASES", "include.use_cases.flight_delay")
    with pytest.raises(SettingsError, match=r"outside the data of flight_delay(?!.*NIGHTSHIFT_USE_CASES)"):
        data_day("2026-06-15", SPEC, replay=False, now=NOW)


@pytest.mark.parametrize("replay", [True, False])
def test_a_day_that_is_not_over_is_in_the_future(replay: bool) -> None:
    with pytest.raises(SettingsError, match="in the future or not over yet"):
        data_day("2026-11-21", SPEC, replay=replay, now=NOW)


def test_a_day_is_over_when_it_is_over_in_the_zone_of_the_use_case() -> None:
    over = SPEC.day_end(date(2026, 11, 19))
    assert data_day("2026-11-19", SPEC, replay=True, now=over) == date(2026, 11, 19)
    with pytest.raises(SettingsError, match="the newest that is: 2026-11-19"):
        data_day("2026-11-20", SPEC, replay=True, now=over)


@pytest.mark.stack
@pytest.mark.parametrize("wrong", ["2013-13-01", "2199-01-01", "2012-12-31"])
def test_a_wrong_date_is_told_before_anything_is_installed(wrong: str) -> None:
    # -S: without the packages of this environment, as on a new machine
    asked = [sys.executable, "-S", "-m", "local.days", wrong]

    done = subprocess.run(asked, cwd=ROOT, capture_output=True, text=True, check=False)

    assert done.returncode == ExitCode.BAD_SETTINGS, done.stderr
    assert done.stderr.startswith(f"nightshift: DATE={wrong}")
    assert done.stderr.count("\n") == 1


@pytest.mark.stack
def test_a_date_that_may_be_run_for_passes_without_a_word() -> None:
    asked = [sys.executable, "-S", "-m", "local.days", "2013-10-01"]
    done = subprocess.run(asked, cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout + done.stderr == ""


def test_replay_is_offered_only_where_it_is_off_and_the_use_case_knows_it() -> None:
    own = replace(SPEC, replays=False)
    for spec, replay, offered in ((SPEC, False, True), (own, False, False), (own, True, False)):
        with pytest.raises(SettingsError, match="outside the data") as caught:
            data_day("2026-11-01", spec, replay=replay, now=NOW)
        assert ("NIGHTSHIFT_REPLAY" in str(caught.value)) == offered


def test_with_replay_later_days_are_answered() -> None:
    assert data_day("2026-11-01", SPEC, replay=True, now=NOW) == date(2026, 11, 1)
