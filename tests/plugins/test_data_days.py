"""The schedule: one run for each data day, due when it is over, whatever the clocks do."""

from __future__ import annotations

from datetime import date, datetime, timedelta
from itertools import pairwise
from zoneinfo import ZoneInfo

import pendulum
import pytest
from airflow.timetables.base import DataInterval, TimeRestriction
from hypothesis import given
from hypothesis import strategies as st

from include.use_case import load_use_case
from plugins.data_days import DataDays, data_day, named_day

SPEC = load_use_case("include.use_cases.flight_delay").spec
NEW_YORK = ZoneInfo("America/New_York")
YEAR = DataDays(SPEC.cron, SPEC.timezone, date(2013, 1, 1), date(2013, 12, 30))


def intervals(timetable: DataDays, earliest: str, latest: str) -> list[DataInterval]:
    """The intervals that a backfill of a range makes runs for."""
    restriction = TimeRestriction(pendulum.parse(earliest), pendulum.parse(latest), True)
    found: list[DataInterval] = []
    while info := timetable.next_dagrun_info(
        last_automated_data_interval=found[-1] if found else None, restriction=restriction
    ):
        found.append(info.data_interval)
    return found


def test_a_year_has_one_run_for_each_of_its_days_over_both_changes_of_the_clocks() -> None:
    found = intervals(YEAR, "2012-06-01", "2014-06-01")
    days = [data_day(SPEC, None, interval.end, interval.end) for interval in found]
    assert days == [(date(2013, 1, 1) + timedelta(days=number)).isoformat() for number in range(364)]
    assert [interval.start.in_timezone(SPEC.timezone).date().isoformat() for interval in found] == days
    for before, after in pairwise(found):
        assert before.end == after.start


@pytest.mark.parametrize(
    ("day", "due"),
    [
        ("2013-03-09", "2013-03-10T01:15-05:00"),  # clocks go forward an hour later
        ("2013-03-10", "2013-03-11T01:15-04:00"),  # a day of 23 hours
        ("2013-11-02", "2013-11-03T01:15-05:00"),  # 01:15 comes twice: the second one
        ("2013-11-03", "2013-11-04T01:15-05:00"),  # a day of 25 hours
    ],
)
def test_a_run_is_due_at_a_quarter_past_one_on_the_next_day(day: str, due: str) -> None:
    runs = {data_day(SPEC, None, i.end, i.end): i.end for i in intervals(YEAR, "2013-01-01", "2013-12-31")}
    assert runs[day] == pendulum.parse(due)


def test_the_list_of_dags_says_in_which_zone_the_schedule_is() -> None:
    assert YEAR.summary == DataDays.deserialize(YEAR.serialize()).summary == "15 1 * * *, America/New_York"


@given(st.datetimes(datetime(2000, 1, 1), datetime(2040, 1, 1), timezones=st.just(NEW_YORK)))
def test_the_newest_day_over_is_over_and_the_next_is_not(moment: datetime) -> None:
    day = SPEC.newest_day_over(moment)
    assert SPEC.day_end(day).timestamp() <= moment.timestamp() < SPEC.day_end(day + timedelta(days=1)).timestamp()


def test_a_day_that_is_asked_for_is_taken() -> None:
    now = datetime(2026, 11, 21, tzinfo=NEW_YORK)
    assert data_day(SPEC, "2013-10-01", now, now) == "2013-10-01"


def test_a_run_without_an_interval_takes_the_newest_day_that_is_over() -> None:
    assert data_day(SPEC, None, None, datetime(2026, 11, 21, 0, 59, tzinfo=NEW_YORK)) == "2026-11-19"
    assert data_day(SPEC, None, None, datetime(2026, 11, 21, 1, 0, tzinfo=NEW_YORK)) == "2026-11-20"


def test_nothing_is_scheduled_beyond_the_data() -> None:
    live = TimeRestriction(None, None, False)
    assert YEAR.next_dagrun_info(last_automated_data_interval=None, restriction=live) is None


def test_replayed_data_has_no_last_day() -> None:
    replay = DataDays(SPEC.cron, SPEC.timezone, date(2013, 1, 1), None)
    info = replay.next_dagrun_info(last_automated_data_interval=None, restriction=TimeRestriction(None, None, False))
    assert info is not None
    assert timedelta(0) <= pendulum.now() - info.run_after < timedelta(hours=26)


@pytest.mark.parametrize("last", [date(2013, 12, 30), None])
def test_a_timetable_survives_serialization(last: date | None) -> None:
    timetable = DataDays(SPEC.cron, SPEC.timezone, date(2013, 1, 1), last)
    read = DataDays.deserialize(timetable.serialize())
    assert read.serialize() == timetable.serialize()
    assert intervals(read, "2013-03-09", "2013-03-12") == intervals(timetable, "2013-03-09", "2013-03-12")


def test_a_source_without_an_end_has_no_last_run() -> None:
    endless = DataDays(SPEC.cron, SPEC.timezone, date(2013, 1, 1), date.max)
    assert len(intervals(endless, "2030-01-01", "2030-01-04")) == 4


# A backfill, and a run by hand

ROME = DataDays("15 1 * * *", "Europe/Rome", date(2026, 1, 1), None)
AUCKLAND = DataDays("15 1 * * *", "Pacific/Auckland", date(2013, 1, 1), None)


@pytest.mark.parametrize(
    ("timetable", "first", "last"),
    [
        (YEAR, "2013-09-01", "2013-09-07"),  # as the command line and the REST API read a bare date
        (YEAR, "2013-09-01T00:00-04:00", "2013-09-07T00:00-04:00"),  # as the form sends New York's midnights
        (YEAR, "2013-09-01T00:00-04:00", "2013-09-07T23:59-04:00"),
        (YEAR, "2013-09-01T10:07-04:00", "2013-09-07T10:07-04:00"),  # the clock that a browser fills in
        (ROME, "2013-09-01", "2013-09-07"),
        (ROME, "2013-09-01T00:00+02:00", "2013-09-07T23:59:59+02:00"),
        (AUCKLAND, "2013-09-01", "2013-09-07"),
        (AUCKLAND, "2013-09-01T00:00+12:00", "2013-09-07T00:00+12:00"),
    ],
)
def test_a_backfill_has_a_run_for_each_day_asked_for_the_last_one_too(
    timetable: DataDays, first: str, last: str
) -> None:
    timetable = DataDays(timetable.serialize()["cron"], timetable.zone.key, date(2013, 1, 1), None)
    starts = [interval.start.in_timezone(timetable.zone.key) for interval in intervals(timetable, first, last)]
    assert [f"{start:YYYY-MM-DD HH:mm}" for start in starts] == [f"2013-09-0{day} 01:15" for day in range(1, 8)]


def test_a_backfill_ends_with_the_data() -> None:
    found = intervals(YEAR, "2013-12-29", "2014-01-09")
    assert [data_day(SPEC, None, interval.end, interval.end) for interval in found] == ["2013-12-29", "2013-12-30"]


@given(
    st.dates(date(2013, 1, 2), date(2013, 12, 29)),
    st.sampled_from(["America/New_York", "Europe/Rome", "UTC", "Pacific/Auckland", "Asia/Kolkata"]),
)
def test_a_logical_date_names_the_same_day_by_hand_and_in_a_backfill(day: date, zone: str) -> None:
    timetable = DataDays("15 1 * * *", zone, date(2013, 1, 1), None)
    (backfilled,) = intervals(timetable, day.isoformat(), day.isoformat())
    assert backfilled.start.in_timezone(zone).date() == day
    midnights = (pendulum.datetime(day.year, day.month, day.day, tz=tz) for tz in ("UTC", zone))
    for by_hand in (backfilled.start, *midnights):
        assert timetable.infer_manual_data_interval(run_after=by_hand) == backfilled


def test_a_run_by_hand_today_takes_the_newest_day_that_is_over() -> None:
    now = pendulum.now("UTC")
    timetable = DataDays(SPEC.cron, SPEC.timezone, date(2013, 1, 1), None)
    interval = timetable.infer_manual_data_interval(run_after=now)
    assert interval.end <= now < timetable.infer_manual_data_interval(run_after=now).end.add(hours=25)


def test_a_bare_date_names_itself_in_every_zone() -> None:
    assert named_day(pendulum.datetime(2013, 9, 1), NEW_YORK) == date(2013, 9, 1)
    assert named_day(pendulum.datetime(2013, 9, 1, 3, 59), NEW_YORK) == date(2013, 8, 31)
