"""Flights and weather of 2013 as the package's files have them, and later days as days of 2013."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from zoneinfo import ZoneInfo

import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pytest

from include.errors import FaultError
from include.quality.conform import conform
from include.quality.data_day import DataDay
from include.settings import Settings
from include.storage.lake import days_between
from include.use_cases.flight_delay import sources
from include.use_cases.flight_delay.contracts import RAW
from include.use_cases.flight_delay.sources import NycFlights13, source
from include.use_cases.flight_delay.spec import SPEC

NEW_YORK = ZoneInfo("America/New_York")
YEAR = days_between(date(2013, 1, 1), date(2013, 12, 31))


@pytest.fixture(scope="module")
def real() -> NycFlights13:
    return NycFlights13()


@pytest.fixture(scope="module")
def replayed() -> NycFlights13:
    return NycFlights13(replay=True)


@pytest.fixture(scope="module")
def flights(real: NycFlights13) -> pd.DataFrame:
    """All flights of the year, day by day."""
    return pa.concat_tables([real.read("flights", day) for day in YEAR]).to_pandas()


@pytest.mark.slow
def test_every_departure_of_the_year_is_there_once(flights: pd.DataFrame) -> None:
    assert len(flights) == 336_776
    assert flights["flight_id"].is_unique
    assert flights["flight_id"].iloc[0] == "2013-01-01-UA-1545-EWR"


def test_every_observation_belongs_to_exactly_one_data_day(real: NycFlights13) -> None:
    weather = pa.concat_tables([real.read("weather", day) for day in YEAR]).to_pandas()
    assert len(weather) == 26_115
    assert not weather.duplicated(["origin", "observed_at"]).any()


@pytest.mark.parametrize("day", [date(2013, 1, 1), date(2013, 3, 10), date(2013, 11, 3), date(2013, 12, 30)])
def test_weather_of_a_data_day_is_observed_from_one_oclock_to_one_oclock(real: NycFlights13, day: date) -> None:
    observed = real.read("weather", day)["observed_at"].to_pylist()
    assert all(SPEC.day_start(day) <= at < SPEC.day_end(day) for at in observed)


def test_the_day_clocks_go_forward_has_23_hours_and_the_day_they_go_back_25(real: NycFlights13) -> None:
    hours = {
        day: pc.count_distinct(real.read("weather", day)["observed_at"]).as_py()
        for day in (date(2013, 3, 9), date(2013, 3, 10), date(2013, 11, 3))
    }
    # The data day ends at 01:00 of the next, so the lost hour (02:00 on the 10th) is the 10th's.
    assert hours == {date(2013, 3, 9): 24, date(2013, 3, 10): 23, date(2013, 11, 3): 25}


def test_an_observation_is_known_when_its_hour_is_over(real: NycFlights13) -> None:
    weather = real.read("weather", date(2013, 11, 3)).to_pandas()
    assert (weather["known_at"] - weather["observed_at"]).eq(pd.Timedelta(hours=1)).all()


def test_flights_of_a_day_depart_on_that_day_in_new_york(flights: pd.DataFrame) -> None:
    local = flights["scheduled_departure"].dt.tz_convert(NEW_YORK)
    assert (local.dt.date == flights["date"]).all()


def test_times_are_plausible_over_the_whole_year(flights: pd.DataFrame) -> None:
    scheduled = (flights["scheduled_arrival"] - flights["scheduled_departure"]).dt.total_seconds() / 60
    assert scheduled.between(50, 700).all()
    arrived = flights.dropna(subset="arrived_at")
    assert len(arrived) == 327_346
    flown = (arrived["arrived_at"] - arrived["departed_at"]).dt.total_seconds() / 60
    assert flown.between(20, 800).all()
    assert flights["departed_at"].isna().sum() == 8_255


def test_a_flight_over_zones_and_midnight_arrives_when_the_file_says(real: NycFlights13) -> None:
    # Given B6 739 from JFK at 23:59 to Ponce, airborne over midnight, in a zone that airports.csv lacks
    day = real.read("flights", date(2013, 1, 4)).to_pandas().set_index("flight_id")
    flight = day.loc["2013-01-04-B6-739-JFK"]
    assert flight["scheduled_departure"] == datetime(2013, 1, 5, 4, 59, tzinfo=UTC)
    assert flight["dest"] == "PSE"
    # Then its 04:45 there is of the next day
    assert flight["scheduled_arrival"].tz_convert("America/Puerto_Rico").strftime("%d %H:%M") == "05 04:45"


@pytest.mark.slow
def test_recorded_arrival_times_agree_with_scheduled_arrival_plus_delay(real: NycFlights13) -> None:
    # Given the file's own arr_time, which the source does not use
    file = sources._read(sources.package_folder(), "flights.csv.zip")
    zones = sources._read(sources.package_folder(), "airports.csv").set_index("faa")["tzone"].to_dict()
    days = sources._flights(sources.package_folder())[0]
    zone = file["dest"].map(zones | sources.ATLANTIC)
    agree = 0
    for name, rows in zone[days["arrived_at"].notna()].groupby(zone).groups.items():
        local = days["arrived_at"].loc[rows].dt.tz_convert(name)
        agree += (local.dt.hour * 100 + local.dt.minute == file["arr_time"].loc[rows].mod(2400)).sum()
    assert agree == 327_345  # of 327,346


@pytest.mark.slow
def test_every_record_of_the_year_keeps_its_contract_but_one_gale_of_1048_mph(real: NycFlights13) -> None:
    bad = [
        (day, rows["_reason"][0].as_py())
        for topic in ("schedule", "flights", "weather")
        for day in days_between(SPEC.first_day, SPEC.last_day)
        if (rows := conform(real.read(topic, day), RAW[topic], "test", DataDay.of(SPEC, day)).bad).num_rows
    ]
    assert bad == [(date(2013, 2, 12), "wind_speed is above 150")]


@pytest.mark.slow
@pytest.mark.parametrize("topic", ["schedule", "flights", "weather"])
@pytest.mark.parametrize(
    "around", [date(2026, 3, 8), date(2026, 11, 1), date(2026, 12, 31), date(2028, 2, 29), date(2027, 3, 14)]
)
def test_replayed_records_are_of_their_data_day_where_clocks_change_too(
    replayed: NycFlights13, topic: str, around: date
) -> None:
    for day in days_between(around - timedelta(days=2), around + timedelta(days=2)):
        records = replayed.read(topic, day)
        result = conform(records, RAW[topic], "test", DataDay.of(SPEC, day))
        assert records.num_rows
        assert result.bad.num_rows == 0


def test_an_unknown_tail_number_is_null(flights: pd.DataFrame) -> None:
    assert flights["tailnum"].isna().sum() == 2_512
    assert not flights["tailnum"].isin(["", "NA"]).any()


def test_a_schedule_tells_no_outcome(real: NycFlights13) -> None:
    columns = real.read("schedule", date(2013, 10, 1)).column_names
    assert columns == RAW["schedule"].names


def test_without_replay_a_later_day_is_empty(real: NycFlights13) -> None:
    assert real.read("flights", date(2014, 6, 1)).num_rows == 0
    assert real.last_day == date(2013, 12, 30)


@pytest.mark.parametrize("day", [date(2014, 1, 1), date(2026, 11, 20), date(2026, 3, 8), date(2026, 11, 1)])
def test_a_replayed_day_is_the_same_weekday_of_2013_moved_by_whole_weeks(replayed: NycFlights13, day: date) -> None:
    moved = replayed.read("flights", day).to_pandas()
    origin = date.fromisoformat("2013-01-01") + timedelta(days=(day - date(2013, 1, 1)).days % 364)
    there = replayed.read("flights", origin).to_pandas()
    # The same flights at the same hours of the day
    assert origin.weekday() == day.weekday()
    assert set(moved["date"]) == {day}
    assert moved["flight_id"].str.slice(0, 10).eq(day.isoformat()).all()
    hours = [frame["scheduled_departure"].dt.tz_convert(NEW_YORK).dt.strftime("%H:%M") for frame in (moved, there)]
    assert hours[0].eq(hours[1]).all()
    # With the same durations and delays
    for name in ("scheduled_arrival", "departed_at", "arrived_at"):
        spans = [frame[name] - frame["scheduled_departure"] for frame in (moved, there)]
        assert spans[0].equals(spans[1])


@pytest.mark.parametrize(
    ("day", "hours"),
    [(date(2026, 11, 20), 24), (date(2026, 3, 8), 23), (date(2026, 11, 1), 24), (date(2014, 11, 2), 24)],
)
def test_replayed_weather_keeps_its_local_hours_and_the_new_days_clock(
    replayed: NycFlights13, day: date, hours: int
) -> None:
    weather = replayed.read("weather", day).to_pandas()
    assert not weather.duplicated(["origin", "observed_at"]).any()
    assert weather["observed_at"].nunique() == hours
    assert all(SPEC.day_start(day) <= at < SPEC.day_end(day) for at in weather["observed_at"])
    assert conform(replayed.read("weather", day), RAW["weather"], "test").bad.num_rows == 0


def test_days_inside_the_sample_are_the_same_with_and_without_replay(
    real: NycFlights13, replayed: NycFlights13
) -> None:
    for topic in RAW:
        assert replayed.read(topic, date(2013, 12, 30)).equals(real.read(topic, date(2013, 12, 30)))


def test_every_replayed_day_has_a_schedule_flights_and_weather_that_fit(replayed: NycFlights13) -> None:
    for day in days_between(date(2013, 12, 31), date(2014, 1, 10)):
        planned, flown = (replayed.read(topic, day)["flight_id"].to_pylist() for topic in ("schedule", "flights"))
        assert planned == flown
        assert replayed.read("weather", day).num_rows > 40


def test_the_settings_say_whether_days_are_replayed() -> None:
    assert source(Settings(replay=True)).last_day == date.max
    assert source(Settings()).last_day == SPEC.last_day


def test_a_package_that_is_not_installed_is_one_clear_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sources, "PACKAGE", "no_such_package")
    with pytest.raises(FaultError, match=r"no_such_package is not installed; it is in the requirements\.lock"):
        NycFlights13().read("flights", date(2013, 1, 1))


@pytest.mark.parametrize("content", [b"no archive", b"PK\x05\x06" + bytes(18)], ids=["no archive", "an empty one"])
def test_a_damaged_file_of_the_package_is_one_clear_line(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "flights.csv.zip").write_bytes(content)
    with pytest.raises(FaultError, match=r"source: cannot read .*/flights.csv.zip: .*; install nycflights13 again"):
        NycFlights13(folder=tmp_path).read("flights", date(2013, 1, 1))


@pytest.mark.parametrize(
    ("replay", "weeks", "way"),
    [
        (False, None, "set NIGHTSHIFT_REPLAY=true"),
        (True, None, ""),
        (True, 52, "unset NIGHTSHIFT_REPLAY_WEEKS"),
        (False, 52, "unset NIGHTSHIFT_REPLAY_WEEKS and set NIGHTSHIFT_REPLAY=true"),
    ],
)
def test_the_way_to_later_days_is_one_that_is_not_taken_yet(replay: bool, weeks: int | None, way: str) -> None:
    assert NycFlights13(replay=replay, weeks=weeks).later_days == way


def test_a_setting_that_changes_the_rows_of_a_day_is_named() -> None:
    day = date(2014, 1, 2)
    replayed, moved, further = NycFlights13(replay=True), NycFlights13(weeks=52), NycFlights13(weeks=50)
    assert moved.read("schedule", day) != further.read("schedule", day)
    assert len({replayed.configured, moved.configured, further.configured}) == 3
    # Those that only allow further days change none
    assert NycFlights13().configured == NycFlights13(weeks=0).configured == replayed.configured == ""
