"""What serving can look up of a day's flights: predictions, airports and readings."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any

import pyarrow as pa
import pytest

from include.errors import DataError
from include.use_cases.flight_delay import lookup as flights
from include.use_cases.flight_delay.lookup import LOOKUP, airports

UTC_US = pa.timestamp("us", "UTC")
PLACES = pa.table(
    {
        "code": ["C", "A", "B"],
        "name": ["Sea", "Hill", "Bay"],
        "latitude": [1.5, 2.5, 3.5],
        "longitude": [-1.0, -2.0, -3.0],
        "time_zone": ["UTC", None, "UTC"],
    }
)


@pytest.fixture(autouse=True)
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Three airports, and stations that measure two things."""
    monkeypatch.setattr(flights, "airports", lambda: PLACES)
    monkeypatch.setattr(flights, "SENSOR", ("rain", "wind"))


def at(hour: int, minute: int = 0) -> datetime:
    return datetime(2013, 10, 1, hour, minute, tzinfo=UTC)


PREDICTIONS = pa.table(
    {
        "id": ["1", "2", "3", "4"],
        "origin": ["B", "A", "A", "A"],
        "dest": ["A", "X", "B", "B"],
        "as_of": pa.array([at(5, 10), at(6), at(6, 30), at(7)], UTC_US),
        "probability": [0.25, 0.5, float("nan"), 1.0],
    }
)
FEATURES = pa.table(
    {
        "as_of": PREDICTIONS["as_of"],
        "weather_age": [10.0, 0.5, 30.5, None],
        "rain": [0.1, 0.2, 0.2, 9.9],
        "wind": [7.0, None, None, 9.9],
    }
)


def lookup(predictions: pa.Table = PREDICTIONS, features: pa.Table = FEATURES) -> dict[str, Any]:
    body: dict[str, Any] = json.loads(LOOKUP.to_json(predictions, features, "id"))
    return body


def test_each_prediction_names_the_reading_that_it_was_made_with() -> None:
    assert lookup()["predictions"]["sensor_at"] == [
        "2013-10-01T05:00:00Z",
        "2013-10-01T05:59:30Z",
        "2013-10-01T05:59:30Z",
        None,
    ]


def test_a_reading_is_there_once_and_one_that_nobody_knew_is_not() -> None:
    assert lookup()["tables"]["readings"] == {
        "location": ["A", "B"],
        "known_at": ["2013-10-01T05:59:30Z", "2013-10-01T05:00:00Z"],
        "rain": [0.2, 0.1],
        "wind": [None, 7.0],
    }


def test_the_places_are_those_that_predictions_name_and_the_reference_describes() -> None:
    assert lookup()["tables"]["locations"] == {
        "code": ["A", "B"],
        "name": ["Hill", "Bay"],
        "latitude": [2.5, 3.5],
        "longitude": [-2.0, -3.0],
        "time_zone": [None, "UTC"],
    }


def test_predictions_keep_their_order_and_what_is_no_number_is_null() -> None:
    body = lookup()
    assert (body["key"], body["groups"], body["order"]) == ("id", ["origin"], "scheduled_departure")
    assert body["predictions"]["id"] == ["1", "2", "3", "4"]
    assert body["predictions"]["as_of"][0] == "2013-10-01T05:10:00Z"
    assert body["predictions"]["probability"] == [0.25, 0.5, None, 1.0]


def test_a_day_without_predictions_has_a_lookup_too() -> None:
    body = lookup(PREDICTIONS.slice(0, 0), FEATURES.slice(0, 0))
    assert (body["predictions"]["id"], body["tables"]["readings"]["rain"]) == ([], [])


def test_equal_tables_are_equal_bytes_however_they_are_cut() -> None:
    cut = pa.concat_tables([PREDICTIONS.slice(0, 1), PREDICTIONS.slice(1)])
    assert LOOKUP.to_json(cut, FEATURES, "id") == LOOKUP.to_json(PREDICTIONS, FEATURES, "id")


def test_an_age_that_no_float_holds_exactly_names_its_second_all_the_same() -> None:
    ages = [65 / 60, 123 / 60, 130 / 60, 131 / 60]
    body = lookup(features=FEATURES.set_column(1, "weather_age", pa.array(ages)))

    assert body["predictions"]["sensor_at"] == [
        "2013-10-01T05:08:55Z",
        "2013-10-01T05:57:57Z",
        "2013-10-01T06:27:50Z",
        "2013-10-01T06:57:49Z",
    ]


def test_features_without_the_sensor_are_refused_by_name() -> None:
    with pytest.raises(DataError, match="features lack wind, weather_age; compute the features again"):
        lookup(features=FEATURES.drop_columns(["wind", "weather_age"]))


def test_the_packages_airports_are_the_reference() -> None:
    table = airports()
    rows = {row["code"]: row for row in table.to_pylist()}
    assert len(rows) == 1458
    assert rows["JFK"] == {
        "code": "JFK",
        "name": "John F Kennedy Intl",
        "latitude": pytest.approx(40.64, abs=0.01),
        "longitude": pytest.approx(-73.78, abs=0.01),
        "time_zone": "America/New_York",
    }
