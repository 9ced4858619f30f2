"""A worker's shifts, on ordinary days, on days clocks change, and for any plan in any zone."""

from __future__ import annotations

from datetime import UTC, date, datetime, time, timedelta
from itertools import pairwise
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from include.ingestion.shift_plan import PlannedShift, ShiftPlan, parse_span, span_text

NEW_YORK = ZoneInfo("America/New_York")
FIGURES: dict[str, Any] = {
    "first": "00:20",
    "last": "10:20",
    "every": "2 h",
    "duration": "15 min",
    "zone": "America/New_York",
}
PLAN = ShiftPlan(**FIGURES)
CLOCKS_GO_FORWARD = date(2026, 3, 8)
CLOCKS_GO_BACK = date(2026, 11, 1)
ZONES = ("America/New_York", "Europe/London", "Australia/Lord_Howe", "America/Havana", "Asia/Kathmandu", "UTC")


def new_york(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=NEW_YORK).astimezone(UTC)


def clocks(shifts: list[PlannedShift]) -> list[str]:
    return [f"{shift.start.astimezone(NEW_YORK):%H:%M}-{shift.end.astimezone(NEW_YORK):%H:%M}" for shift in shifts]


def test_an_ordinary_day_has_the_shifts_that_are_written_down() -> None:
    assert clocks(PLAN.on(date(2026, 6, 1))) == [
        "00:20-00:35",
        "02:20-02:35",
        "04:20-04:35",
        "06:20-06:35",
        "08:20-08:35",
        "10:20-10:35",
    ]


def test_a_start_that_clocks_skip_comes_as_long_after_midnight_as_ever() -> None:
    shifts = PLAN.on(CLOCKS_GO_FORWARD)
    assert clocks(shifts)[:3] == ["00:20-00:35", "03:20-03:35", "04:20-04:35"]
    assert shifts[1].start - shifts[0].start == timedelta(hours=2)
    assert len(shifts) == 6


def test_a_start_that_clocks_show_twice_is_the_first_of_the_two() -> None:
    hourly = ShiftPlan(**FIGURES | {"every": "1 h"})
    shifts = hourly.on(CLOCKS_GO_BACK)
    assert shifts[1].start == datetime(2026, 11, 1, 5, 20, tzinfo=UTC)  # 01:20 EDT
    assert shifts[2].start == datetime(2026, 11, 1, 7, 20, tzinfo=UTC)  # 02:20 EST, two hours later
    assert len(shifts) == 11


def test_every_shift_lasts_as_long_however_clocks_change() -> None:
    for day in (CLOCKS_GO_FORWARD, CLOCKS_GO_BACK):
        assert {shift.end - shift.start for shift in PLAN.on(day)} == {timedelta(minutes=15)}


def test_a_shift_ends_early_rather_than_run_into_one_that_clocks_bring_closer() -> None:
    # 02:20 is 03:20 on that day, so 04:20 begins an hour later.
    long = ShiftPlan(**FIGURES | {"duration": "90 min"})
    assert clocks(long.on(CLOCKS_GO_FORWARD))[:3] == ["00:20-01:50", "03:20-04:20", "04:20-05:50"]


def test_two_starts_that_clocks_make_one_are_one_shift() -> None:
    hourly = ShiftPlan(**FIGURES | {"every": "1 h"})
    assert clocks(hourly.on(CLOCKS_GO_FORWARD))[:4] == ["00:20-00:35", "01:20-01:35", "03:20-03:35", "04:20-04:35"]


def test_who_asks_within_a_shift_gets_it() -> None:
    assert PLAN.asked_for(new_york("2026-06-01 06:31")) == PLAN.on(date(2026, 6, 1))[3]


def test_who_asks_at_the_very_end_of_a_shift_gets_another() -> None:
    asked = PLAN.asked_for(new_york("2026-06-01 06:35"))
    assert clocks([asked]) == ["06:35-06:50"]


def test_an_extra_shift_ends_before_the_next_begins() -> None:
    assert clocks([PLAN.asked_for(new_york("2026-06-01 08:12"))]) == ["08:12-08:20"]
    assert clocks([PLAN.asked_for(new_york("2026-06-01 13:00"))]) == ["13:00-13:15"]


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"first": 20}, "write it as HH:MM in quotes"),
        ({"last": "24:20"}, "write it as HH:MM in quotes"),
        ({"first": "12:20"}, "last 10:20 is before first 12:20"),
        ({"every": "3 h"}, "10:20 is not a whole number of 3 h after first"),
        ({"every": "2 hours"}, "write it as '15 min' or '2 h'"),
        ({"duration": "0 min"}, "write it as '15 min' or '2 h'"),
        ({"duration": "121 min"}, "run into each other"),
        ({"first": "00:00", "last": "20:00", "every": "10 h", "duration": "5 h"}, "run into each other"),
        ({"zone": "America/Nowhere"}, "not a time zone"),
        ({"length": "1 h"}, "Extra inputs are not permitted"),
    ],
)
def test_a_plan_that_cannot_be_kept_is_refused_with_the_reason(change: dict[str, Any], said: str) -> None:
    with pytest.raises(ValidationError, match=said.replace("(", r"\(")):
        ShiftPlan(**FIGURES | change)


@given(st.integers(1, 3000))
def test_a_span_reads_back_as_it_was_written(minutes: int) -> None:
    span = timedelta(minutes=minutes)
    assert parse_span(span_text(span)) == span


@st.composite
def plans(draw: st.DrawFn) -> ShiftPlan:
    """Any plan that can be kept."""
    number = draw(st.integers(1, 12))
    every = draw(st.integers(5, 24 * 60 // number))
    first = draw(st.integers(0, 24 * 60 - 1 - every * (number - 1)))
    longest = min(every, 24 * 60 - every * (number - 1))
    clock = [(datetime.min + timedelta(minutes=m)).time() for m in (first, first + every * (number - 1))]
    return ShiftPlan(
        first=clock[0],
        last=clock[1],
        every=timedelta(minutes=every),
        duration=timedelta(minutes=draw(st.integers(1, longest))),
        zone=draw(st.sampled_from(ZONES)),
    )


moments = st.datetimes(datetime(2023, 1, 1), datetime(2027, 1, 1), timezones=st.just(UTC))


@settings(deadline=None)  # the machine may be busy
@given(plans(), moments)
def test_shifts_of_any_plan_never_overlap_and_never_outlast_their_length(plan: ShiftPlan, moment: datetime) -> None:
    shifts = [plan.following(moment)]
    for _ in range(40):
        shifts.append(plan.following(shifts[-1].end))
    assert all(earlier.end <= later.start for earlier, later in pairwise(shifts))
    assert all(timedelta(0) < shift.end - shift.start <= plan.duration for shift in shifts)


@settings(deadline=None)  # the machine may be busy
@given(plans(), st.dates(date(2023, 1, 1), date(2026, 12, 30)))
def test_a_day_without_a_clock_change_has_every_shift_at_its_time(plan: ShiftPlan, day: date) -> None:
    zone = ZoneInfo(plan.zone)
    offsets = {datetime.combine(day, time(hour), zone).utcoffset() for hour in range(24)}
    offsets.add(datetime.combine(day + timedelta(days=1), time(2), zone).utcoffset())
    if len(offsets) == 1:
        assert [shift.start.astimezone(zone).time() for shift in plan.on(day)] == list(plan.clock_times)


@settings(deadline=None)  # the machine may be busy
@given(plans(), moments)
def test_an_extra_shift_overlaps_no_planned_one(plan: ShiftPlan, moment: datetime) -> None:
    asked, planned = plan.asked_for(moment), plan.at(moment)
    assert asked.start <= moment <= asked.end <= asked.start + plan.duration
    assert asked == planned if planned else asked.end <= plan.following(moment).start
