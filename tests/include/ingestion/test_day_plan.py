"""What the timetable's YAML means for a day: which windows overlap, on every day of two years."""

from __future__ import annotations

from datetime import date, datetime, timedelta

import pytest

from include.ingestion.day_plan import Activity, Overlap, Window, day_plan, overlaps
from include.ingestion.timetable import Timetable, load_timetable
from include.storage.lake import days_between
from include.use_case import load_use_case
from include.use_cases.flight_delay.spec import SPEC

DAYS = days_between(date(2026, 1, 1), date(2027, 12, 31))
"""Four of them change clocks: 8 March and 1 November 2026, 14 March and 7 November 2027."""


@pytest.fixture(scope="module")
def timetable() -> Timetable:
    found = load_timetable(SPEC.package)
    assert found is not None
    return found


@pytest.fixture(scope="module")
def plans(timetable: Timetable) -> dict[date, list[Window]]:
    """Each day's windows, with what reaches into it from the day before."""
    by_day = {day: day_plan(SPEC, timetable, day) for day in days_between(DAYS[0] - timedelta(days=1), DAYS[-1])}
    return {day: by_day[day - timedelta(days=1)] + by_day[day] for day in DAYS}


def clock(moment: datetime) -> str:
    return f"{moment.astimezone(SPEC.zone):%H:%M}"


def told(pair: Overlap) -> tuple[str, str, str, str]:
    return pair.first.name, pair.second.name, clock(pair.start), clock(pair.end)


def shifts(windows: list[Window]) -> list[Window]:
    return [window for window in windows if window.work is Activity.SHIFT]


def test_the_workers_shifts_overlap_three_times_a_day_and_at_no_other_time(timetable: Timetable) -> None:
    for day in DAYS:
        assert [told(pair) for pair in overlaps(shifts(day_plan(SPEC, timetable, day)))] == [
            ("worker_2", "worker_1", "00:20", "00:35"),
            ("worker_2", "worker_1", "04:20", "04:35"),
            ("worker_2", "worker_1", "08:20", "08:35"),
        ], day


def test_nightly_training_overlaps_nothing_even_if_it_takes_all_its_time(plans: dict[date, list[Window]]) -> None:
    for day, windows in plans.items():
        met = [pair for pair in overlaps(windows) if Activity.TRAINING in (pair.first.work, pair.second.work)]
        assert not met, (day, [told(pair) for pair in met])


def test_five_more_minutes_of_training_than_planned_are_the_most_there_is_room_for(timetable: Timetable) -> None:
    """The bound in the YAML is worth something: the gap after it is known."""
    gaps = set()
    for day in DAYS:
        windows = day_plan(SPEC, timetable, day)
        training = next(window for window in windows if window.work is Activity.TRAINING)
        gaps.add(min(window.start for window in windows if window.start >= training.end) - training.end)
    assert min(gaps) == timedelta(minutes=5)


def test_training_starts_when_no_shift_is_on(plans: dict[date, list[Window]]) -> None:
    for day, windows in plans.items():
        for training in (window for window in windows if window.work is Activity.TRAINING):
            assert not [w.name for w in shifts(windows) if w.start <= training.start < w.end], day


@pytest.mark.parametrize("name", ["worker_1", "worker_2", "score_departures", "nightly_training"])
def test_no_two_windows_of_one_name_overlap(name: str, plans: dict[date, list[Window]]) -> None:
    for day, windows in plans.items():
        own = sorted({window for window in windows if window.name == name})
        assert len(own) > 1
        assert not overlaps(own), day


def test_scoring_begins_as_each_weather_shift_ends(timetable: Timetable) -> None:
    for day in DAYS:
        windows = day_plan(SPEC, timetable, day)
        ends = [window.end for window in windows if window.name == "worker_1"]
        assert [window.start for window in windows if window.work is Activity.SCORING] == ends


def test_every_day_has_the_same_number_of_windows(timetable: Timetable) -> None:
    assert {len(day_plan(SPEC, timetable, day)) for day in DAYS} == {6 + 3 + 6 + 1}


def test_windows_that_touch_do_not_overlap(timetable: Timetable) -> None:
    one, *_ = day_plan(SPEC, timetable, DAYS[0])
    after = Window(one.end, one.end + timedelta(minutes=1), "after", Activity.SHIFT)
    within = Window(one.end - timedelta(seconds=1), one.end + timedelta(minutes=1), "within", Activity.SHIFT)
    assert not overlaps([after, one])
    assert [pair.second.name for pair in overlaps([within, one])] == ["within"]


def test_a_use_case_of_another_kind_of_cron_is_told_so(timetable: Timetable) -> None:
    from dataclasses import replace

    from include.errors import SettingsError

    spec = replace(load_use_case(SPEC.package).spec, cron="15 1 * * mon")
    with pytest.raises(SettingsError, match="MINUTE HOUR"):
        day_plan(spec, timetable, DAYS[0])
