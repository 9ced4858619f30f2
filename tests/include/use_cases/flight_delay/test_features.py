"""Feature rows: one per scheduled flight, made only of what was known at their as_of."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta

import numpy as np
import pandas as pd
import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from pyspark.sql import SparkSession

from include.storage.lake import days_between
from include.use_cases.flight_delay.feature_contract import FEATURES, INPUTS
from include.use_cases.flight_delay.features import build
from include.use_cases.flight_delay.spec import SPEC
from tests import flight_data

pytestmark = pytest.mark.spark

SPRING, AUTUMN = date(2013, 3, 10), date(2013, 11, 3)
Build = Callable[[flight_data.Tables, date, date], pd.DataFrame]


@pytest.fixture(scope="module")
def built(spark: SparkSession, tmp_path_factory: pytest.TempPathFactory) -> Build:
    """Both horizons' rows of some dates, from raw tables."""

    def compute(raw: flight_data.Tables, first: date, last: date) -> pd.DataFrame:
        folder = tmp_path_factory.mktemp("raw")
        days = days_between(first, last)
        rows = build(spark, flight_data.spark_tables(spark, raw, folder), {"two_hours": days, "nightly": days})
        frame = rows.toArrow().to_pandas(date_as_object=True)
        spark.catalog.clearCache()
        return frame.sort_values(["horizon", "scheduled_departure", "flight_id"], ignore_index=True)

    return compute


def outcomes_hidden(raw: flight_data.Tables, at: pd.Timestamp) -> tuple[pd.Series, pd.Series, pd.Series]:
    """Which departures, arrivals and observations nobody knew yet at that moment."""
    flights, weather = raw["flights"], raw["weather"]
    return ~(flights.departed_at <= at), ~(flights.arrived_at <= at), weather.known_at > at


def another_future(raw: flight_data.Tables, at: pd.Timestamp, seed: int) -> dict[str, pd.DataFrame]:
    """The same past; every record that becomes known after `at` is changed, moved or deleted."""
    random = np.random.default_rng(seed)
    departures, arrivals, observations = outcomes_hidden(raw, at)
    flights, weather = raw["flights"].copy(), raw["weather"].copy()
    for moment, delay, hidden in (("departed_at", "dep_delay", departures), ("arrived_at", "arr_delay", arrivals)):
        soon = random.random(len(flights)) < 0.4
        minutes = pd.to_timedelta(np.where(soon, 1, random.integers(2, 900, len(flights))), unit="min")
        moved = pd.Series((at + minutes).as_unit("us"), index=flights.index)
        deleted = pd.Series(random.random(len(flights)) < 0.3, index=flights.index)
        flights.loc[hidden, moment] = moved.where(~deleted)[hidden]
        flights.loc[hidden, delay] = pd.Series(random.integers(-30, 600, len(flights)) * 1.0).where(~deleted)[hidden]
    for name in ("temperature", "visibility", "pressure", "precipitation", "wind_speed"):
        weather.loc[observations, name] = random.uniform(1, 9, len(weather))[observations]
    kept = ~observations | (random.random(len(weather)) < 0.7)
    return {**raw, "flights": flights, "weather": weather[kept]}


@pytest.fixture(scope="module")
def three_days(built: Build) -> tuple[flight_data.Tables, pd.DataFrame]:
    """Three days around the change to summer time, and their feature rows."""
    raw = flight_data.tables(SPRING - timedelta(days=2), SPRING, every=4)
    return raw, built(raw, SPRING - timedelta(days=1), SPRING)


# Each example is a Spark job of seconds: few of them, and none to shrink a failure.
@settings(
    max_examples=3,
    deadline=None,
    derandomize=True,
    phases=[Phase.generate],
    suppress_health_check=list(HealthCheck),
)
@given(place=st.floats(0, 1, exclude_max=True), seed=st.integers(0, 2**16))
def test_what_becomes_known_after_as_of_changes_no_feature(
    built: Build, three_days: tuple[flight_data.Tables, pd.DataFrame], place: float, seed: int
) -> None:
    raw, expected = three_days
    moments = expected.as_of.drop_duplicates().sort_values()
    at = moments.iloc[int(place * len(moments))]
    changed = another_future(raw, at, seed)
    actual = built(changed, SPRING - timedelta(days=1), SPRING)
    before = expected.as_of <= at
    pd.testing.assert_frame_equal(actual[before], expected[before], check_exact=True)
    assert not raw["flights"].equals(changed["flights"])


def test_what_becomes_known_before_as_of_does_change_features(
    built: Build, three_days: tuple[flight_data.Tables, pd.DataFrame]
) -> None:
    raw, expected = three_days
    noon = pd.Timestamp("2013-03-09T17:00Z")
    departures, _, observations = outcomes_hidden(raw, noon)
    flights, weather = raw["flights"].copy(), raw["weather"].copy()
    flights.loc[~departures, "dep_delay"] += 100
    weather.loc[~observations, "visibility"] = 0.25
    actual = built({**raw, "flights": flights, "weather": weather}, SPRING - timedelta(days=1), SPRING)
    soon = (expected.as_of > noon) & (expected.as_of < noon + pd.Timedelta(hours=2)) & (expected.horizon == "two_hours")
    assert soon.any()
    assert (actual.origin_departure_delay_today[soon] > expected.origin_departure_delay_today[soon] + 50).all()
    assert (actual.city_departure_delay_today[soon] > expected.city_departure_delay_today[soon] + 50).all()
    assert (actual.worst_visibility[soon] == 0.25).mean() > 0.3


def test_there_is_exactly_one_row_for_each_scheduled_flight(
    three_days: tuple[flight_data.Tables, pd.DataFrame],
) -> None:
    raw, rows = three_days
    scheduled = raw["schedule"][raw["schedule"].date >= SPRING - timedelta(days=1)]
    for _, horizon in rows.groupby("horizon"):
        assert sorted(horizon.flight_id) == sorted(scheduled.flight_id)
    assert list(rows.columns) == ["horizon", *FEATURES.names]
    assert set(INPUTS) <= set(rows.columns)


@pytest.mark.parametrize(
    ("day", "start"),
    [
        pytest.param(SPRING, datetime(2013, 3, 10, 6, tzinfo=UTC), id="clocks go forward"),
        pytest.param(AUTUMN, datetime(2013, 11, 3, 5, tzinfo=UTC), id="clocks go back: the first one o'clock"),
    ],
)
def test_a_day_on_which_clocks_change_starts_at_one_and_has_its_flights_at_their_local_hour(
    built: Build, day: date, start: datetime
) -> None:
    raw = flight_data.tables(day - timedelta(days=1), day, every=10)
    rows = built(raw, day, day)
    assert set(rows.as_of[rows.horizon == "nightly"]) == {pd.Timestamp(start)}
    ahead = rows[rows.horizon == "two_hours"]
    assert ((ahead.scheduled_departure - ahead.as_of) == pd.Timedelta(hours=2)).all()
    assert (ahead.scheduled_departure.dt.tz_convert(SPEC.timezone).dt.hour == ahead.hour).all()
    assert len(ahead) == (raw["schedule"].date == day).sum()


@pytest.fixture(scope="module")
def odd_day(built: Build) -> tuple[flight_data.Tables, pd.DataFrame]:
    """A day with what goes wrong: weather missing, a flight cancelled, aircraft unknown or without a past."""
    day = date(2013, 5, 15)
    raw = flight_data.tables(day - timedelta(days=1), day, every=5)
    weather, schedule, flights = (raw[name] for name in ("weather", "schedule", "flights"))
    noon = pd.Timestamp("2013-05-15T16:00Z")
    # LGA is silent all day, JFK for one hour, EWR from noon on
    weather = weather[weather.origin != "LGA"]
    weather = weather[~((weather.origin == "JFK") & (weather.known_at == noon))]
    weather = weather[~((weather.origin == "EWR") & (weather.known_at > noon))]
    own = flights.index[flights.date == day]
    flights.loc[own[5], ["departed_at", "arrived_at", "dep_delay", "arr_delay"]] = None
    for table in (schedule, flights):
        ids = table.flight_id.isin(flights.flight_id[own[[20, 21, 22]]])
        table.loc[ids, "tailnum"] = None
        table.loc[table.flight_id == flights.flight_id[own[30]], "tailnum"] = "N0NEW"
    raw = {**raw, "weather": weather}
    return raw, built(raw, day, day)


def test_a_missing_weather_hour_leaves_the_observation_before_it(
    odd_day: tuple[flight_data.Tables, pd.DataFrame],
) -> None:
    raw, rows = odd_day
    noon = pd.Timestamp("2013-05-15T16:00Z")
    hour = rows[(rows.origin == "JFK") & (rows.as_of >= noon) & (rows.as_of < noon + pd.Timedelta(hours=1))]
    jfk = raw["weather"][raw["weather"].origin == "JFK"].set_index("known_at")
    assert len(hour) > 0
    assert (hour.weather_age == 60 + (hour.as_of - noon).dt.total_seconds() / 60).all()
    assert (hour.temperature == jfk.temperature[noon - pd.Timedelta(hours=1)]).all()


def test_weather_older_than_six_hours_says_nothing(odd_day: tuple[flight_data.Tables, pd.DataFrame]) -> None:
    _, rows = odd_day
    noon = pd.Timestamp("2013-05-15T16:00Z")
    newark = rows[rows.origin == "EWR"]
    fresh = newark[(newark.as_of >= noon) & (newark.as_of < noon + pd.Timedelta(hours=6))]
    stale = newark[newark.as_of >= noon + pd.Timedelta(hours=6)]
    assert fresh.temperature.notna().all() and (fresh.weather_age < 360).all()
    assert len(stale) > 0 and stale.temperature.isna().all() and stale.weather_age.isna().all()


def test_an_airport_without_weather_still_has_its_flights(odd_day: tuple[flight_data.Tables, pd.DataFrame]) -> None:
    raw, rows = odd_day
    laguardia = rows[rows.origin == "LGA"]
    scheduled = raw["schedule"][(raw["schedule"].date == date(2013, 5, 15)) & (raw["schedule"].origin == "LGA")]
    assert len(laguardia) == 2 * len(scheduled)
    assert laguardia[["temperature", "visibility", "precipitation_3h", "weather_age"]].isna().all(axis=None)
    assert laguardia.origin_flights.notna().all()


def test_a_cancelled_flight_has_a_row_and_waits_for_ever(odd_day: tuple[flight_data.Tables, pd.DataFrame]) -> None:
    raw, rows = odd_day
    flights = raw["flights"][raw["flights"].date == date(2013, 5, 15)]
    cancelled = flights[flights.departed_at.isna()]
    assert len(cancelled) > 0
    assert set(cancelled.flight_id) <= set(rows.flight_id)
    late = rows[(rows.horizon == "two_hours")].iloc[-1]
    planned = flights.scheduled_departure <= late.as_of
    gone = flights.departed_at <= late.as_of
    assert late.city_waiting == (planned.sum() - gone.sum())


def test_an_unknown_aircraft_has_no_past(odd_day: tuple[flight_data.Tables, pd.DataFrame]) -> None:
    _, rows = odd_day
    unknown = rows[rows.tailnum.isna()]
    assert len(unknown) >= 6
    assert (unknown.tail_earlier_legs == 0).all() and (unknown.tail_arrivals_28d == 0).all()
    past = ["tail_last_dep_delay", "tail_last_arr_delay", "tail_hours_since", "tail_slack", "tail_previous_delay"]
    assert unknown[past].isna().all(axis=None)
    new = rows[rows.tailnum == "N0NEW"]
    assert len(new) == 2 and new[past].isna().all(axis=None)
