from __future__ import annotations

import json
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from include.errors import DataError
from include.ingestion.streams import PoisonError
from include.quality.contract import Column, Kind
from include.use_cases.flight_delay.streams import FLIGHT_STREAM, WEATHER_STREAM

HOUR = datetime(2013, 3, 1, 12, tzinfo=UTC)
OBSERVATION: dict[str, Any] = {
    "origin": "JFK",
    "observed_at": HOUR,
    "known_at": HOUR + timedelta(hours=1),
    "event_time": HOUR + timedelta(hours=1),
    "temperature": 41.0,
}
FLIGHT: dict[str, Any] = {
    "flight_id": "2013-03-01-UA-1545-EWR",
    "date": date(2013, 3, 1),
    "carrier": "UA",
    "flight": 1545,
    "tailnum": "N14228",
    "origin": "EWR",
    "dest": "IAH",
    "scheduled_departure": HOUR,
    "scheduled_arrival": HOUR + timedelta(hours=4),
    "distance": 1400.0,
    "event_time": HOUR - timedelta(days=1),
}


def changed(value: bytes, **fields: Any) -> bytes:
    """A message with other contents."""
    return json.dumps({**json.loads(value), **fields}).encode()


def test_what_is_encoded_is_decoded_and_equal_records_are_equal_bytes() -> None:
    value = WEATHER_STREAM.encode(OBSERVATION)
    record = WEATHER_STREAM.decode(value, "a1/1")
    assert (record["origin"], record["temperature"], record["pressure"]) == ("JFK", 41.0, None)
    assert record["observed_at"] == "2013-03-01T12:00:00Z"
    assert WEATHER_STREAM.encode(dict(reversed(OBSERVATION.items()))) == value


@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        ({"temperature": "warm"}, "temperature is not a number"),
        ({"temperature": 4000}, "temperature is above 130"),
        ({"origin": "LAX"}, "origin is none of EWR, JFK, LGA"),
        ({"origin": None}, "origin is empty"),
        ({"observed_at": "2013-02-30T00:00:00Z"}, "observed_at is not an instant"),
        ({"observed_at": "2013-02-29T00:00:00Z"}, "observed_at is not an instant"),
        ({"observed_at": "2013-03-01 12:00"}, "observed_at is not an instant"),
        ({"event_time": "2014-03-01T13:00:00Z"}, "event_time is 365 days, 1:00:00 from observed_at"),
        ({"known_at": "2013-03-01T12:00:00Z"}, "known_at: is not after observed_at"),
        ({"colour": "red"}, "colour: Extra inputs are not permitted"),
        ({"schema": "a1/7"}, "schema a1/7 is not known; known: a1/1"),
        ({"schema": None}, "schema None is not known"),
    ],
)
def test_a_record_that_breaks_its_schema_is_refused_with_the_reason(fields: dict[str, Any], reason: str) -> None:
    with pytest.raises(PoisonError) as refused:
        WEATHER_STREAM.decode(changed(WEATHER_STREAM.encode(OBSERVATION), **fields))
    assert str(refused.value).startswith(reason)


@pytest.mark.parametrize(
    "fields", [{"x\x1b\n": 1}, {"origin": "x\x1b\n"}, {"temperature": "x\x1b\n"}, {"schema": "x\x1b\n"}]
)
def test_no_reason_carries_a_line_or_an_escape_of_the_record(fields: dict[str, Any]) -> None:
    with pytest.raises(PoisonError) as refused:
        WEATHER_STREAM.decode(changed(WEATHER_STREAM.encode(OBSERVATION), **fields))
    assert str(refused.value).isprintable()


def test_a_record_without_one_of_its_columns_is_refused() -> None:
    short = json.loads(WEATHER_STREAM.encode(OBSERVATION))
    del short["pressure"]
    with pytest.raises(PoisonError, match="pressure: Field required"):
        WEATHER_STREAM.decode(json.dumps(short).encode())


@pytest.mark.parametrize(
    "fields",
    [{"flight_id": "2013-03-02-UA-1545-EWR"}, {"date": "2013-03-02"}, {"tailnum": "N1\x00"}, {"flight": 1.5}],
)
def test_a_flight_whose_id_or_texts_cannot_be_stored_is_refused(fields: dict[str, Any]) -> None:
    value = FLIGHT_STREAM.encode(FLIGHT)
    assert FLIGHT_STREAM.decode(value)
    with pytest.raises(PoisonError):
        FLIGHT_STREAM.decode(changed(value, **fields))


def test_a_collector_cannot_publish_what_breaks_the_schema() -> None:
    with pytest.raises(PoisonError, match="humidity"):
        WEATHER_STREAM.encode({**OBSERVATION, "humidity": 180.0})


def test_header_and_record_must_name_the_same_schema() -> None:
    with pytest.raises(PoisonError, match="the header says schema a2/1, the record a1/1"):
        WEATHER_STREAM.decode(WEATHER_STREAM.encode(OBSERVATION), "a2/1")


@given(st.binary(max_size=300))
def test_no_bytes_whatever_are_more_than_poison(value: bytes) -> None:
    with pytest.raises(PoisonError):
        FLIGHT_STREAM.decode(value)


@given(st.recursive(st.none() | st.booleans() | st.floats() | st.text(), st.lists, max_leaves=5))
def test_no_content_of_a_column_is_more_than_poison(content: Any) -> None:
    value = changed(FLIGHT_STREAM.encode(FLIGHT), tailnum=content)
    try:
        assert FLIGHT_STREAM.decode(value)["tailnum"] == content
    except PoisonError:
        assert not isinstance(content, str) or not content or "\x00" in content or not content.isprintable()


def test_records_of_an_older_version_are_rows_of_the_newest() -> None:
    # Given a topic whose second version has one more column
    second = (*WEATHER_STREAM.columns, Column("cloud_cover", Kind.NUMBER, required=False))
    newer = replace(WEATHER_STREAM, versions={1: WEATHER_STREAM.columns, 2: second})
    # When a record of the first is read
    record = newer.decode(WEATHER_STREAM.encode(OBSERVATION))
    # Then it is a row with that column empty
    assert record["cloud_cover"] is None
    assert newer.schema_id == "a1/2"


@pytest.mark.parametrize(
    "second", [WEATHER_STREAM.columns[1:], (*WEATHER_STREAM.columns, Column("cloud_cover", Kind.NUMBER))]
)
def test_a_version_that_old_records_would_break_is_refused(second: tuple[Column, ...]) -> None:
    with pytest.raises(DataError, match="may only add optional columns"):
        replace(WEATHER_STREAM, versions={1: WEATHER_STREAM.columns, 2: second})
