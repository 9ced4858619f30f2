"""Many messages at once are what they are one by one."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import datetime
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from include.ingestion.brokers.broker import Received
from include.ingestion.ledger import Batch
from include.ingestion.streams import EVENT_TIME, PoisonError, Stream
from include.quality.contract import Column, Kind
from include.use_cases.flight_delay.streams import FLIGHT_STREAM, WEATHER_STREAM
from tests.include.ingestion.test_streams import FLIGHT, OBSERVATION

FIELDS = [column.name for column in FLIGHT_STREAM.columns] + [EVENT_TIME, "schema", "colour"]
CONTENTS: list[Any] = [
    *(
        None,
        True,
        1,
        1.0,
        1.5,
        -1,
        0,
        10**30,
        1e308,
        "",
        " ",
        "N1",
        ":",
        '":',
        ":null",
        "a\tb",
        "\\N",
        "é",
        "\x00",
        "A" * 201,
    ),
    *("2013-03-01", "2013-02-29", "2013-02-30", "0000-01-01", "2013-3-01", "20130301", "UA", "EWR", "IAH", "UA\n"),
    *("2013-03-01T12:00:00Z", "2013-03-01T12:00:00.5Z", "2013-03-01T12:00:00.1234567Z", "2013-03-01T12:00:00+00:00"),
    *(
        "2013-03-01 12:00:00Z",
        "2013-03-01T120000.1Z",
        "2013-03-01T12:00Z",
        "2013-03-01T24:00:00Z",
        "0000-03-01T12:00:00Z",
    ),
    *("2013-02-29T12:00:00Z", "2013-03-01T12:00:60Z", "2013-03-01T12:00:00.Z", "2014-03-01T12:00:00Z", [], {}, [{}]),
]
NUMBERS = ["NaN", "-Infinity", "1e999", "01", "1.", "-0", "1E2", "1.5e-7", "0x1", "+1", "nul", "1 1", "9" * 400]
ODD = [
    b"\n",
    b"\r",
    b"\t",
    b"\x00",
    b"\x01",
    b" ",
    b"{",
    b"}",
    b"[",
    b'"',
    b"\\",
    b",",
    b"\xff",
    b"\xc3\xa9",
    b"\x7f",
    b"//",
    b"\xef\xbb\xbf",
]
Values = Sequence[bytes]


def flight(number: int = 1545, event_time: str = "2013-02-28T12:00:00Z", **fields: Any) -> dict[str, Any]:
    """A record as its message has it."""
    record: dict[str, Any] = json.loads(FLIGHT_STREAM.encode(FLIGHT))
    return record | {"flight": number, "flight_id": f"2013-03-01-UA-{number}-EWR", EVENT_TIME: event_time} | fields


def written(record: dict[str, Any]) -> bytes:
    return json.dumps(record, separators=(",", ":"), ensure_ascii=False).encode()


good = st.builds(
    flight,
    st.integers(1, 5),
    st.sampled_from(
        ["2013-02-28T12:00:00Z", "2013-02-28T12:00:00.5Z", "2013-02-28T12:00:00.50Z", "2013-03-01T13:00:00Z"]
    ),
    tailnum=st.sampled_from([None, "N14228", "N é", "a:b"]),
    dep_delay=st.none() | st.floats(-180, 3000) | st.integers(-180, 3000),
).map(written)


@st.composite
def strange(draw: st.DrawFn) -> bytes:
    """A message with something the matter, or not quite as ours are written."""
    record = flight()
    name = draw(st.sampled_from(FIELDS))
    kind = draw(st.integers(0, 6))
    if kind == 0:
        return written(record | {name: draw(st.sampled_from(CONTENTS))})
    if kind == 1:
        return written({key: value for key, value in record.items() if key != name})
    if kind == 2:
        return written(dict(draw(st.permutations(list(record.items())))))
    if kind == 3:
        return json.dumps(record, ensure_ascii=draw(st.booleans()), indent=draw(st.sampled_from([None, 1]))).encode()
    if kind == 4:
        number = draw(st.sampled_from(NUMBERS)).encode()
        return written(record | {"dep_delay": 12321, "distance": 45654}).replace(
            draw(st.sampled_from([b"12321", b"45654"])), number
        )
    whole = written(record)
    place = draw(st.sampled_from([0, 1, len(whole) - 1, len(whole)]) | st.integers(0, len(whole)))
    if kind == 5:
        return whole[:place] + draw(st.sampled_from(ODD)) + whole[place:]
    twice = whole[:-1] + b"," + written({name: draw(st.sampled_from(CONTENTS))})[1:]
    return draw(st.sampled_from([twice, whole + whole, whole + b"\n" + whole, whole[:place], b"", whole[place:]]))


def one_by_one(topic: Stream, values: Values) -> list[dict[str, Any]]:
    return [topic.decode(value) for value in values]


@pytest.mark.slow
@given(st.lists(good | strange(), min_size=1, max_size=6))
@settings(max_examples=1500, deadline=None)
def test_what_is_read_at_once_is_sound_and_the_same_one_by_one(values: list[bytes]) -> None:
    records = FLIGHT_STREAM.decode_all(values)
    if records is not None:
        wanted = one_by_one(FLIGHT_STREAM, values)
        assert records.to_pylist() == [{name: record[name] for name in records.column_names} for record in wanted]


@pytest.mark.parametrize("name", FIELDS)
@pytest.mark.parametrize("content", CONTENTS, ids=repr)
def test_no_content_of_any_column_is_more_than_a_doubt(name: str, content: Any) -> None:
    value = written(flight() | {name: content})
    if FLIGHT_STREAM.decode_all([value]) is not None:
        assert FLIGHT_STREAM.decode(value)


@given(st.lists(good, min_size=1, max_size=50))
@settings(deadline=None)
def test_our_own_messages_are_read_at_once(values: list[bytes]) -> None:
    assert FLIGHT_STREAM.decode_all(values) is not None


@pytest.mark.slow
@given(st.lists(good | strange(), min_size=1, max_size=30), st.integers(2, 5))
@settings(max_examples=300, deadline=None)
def test_a_batch_is_the_same_whichever_way_it_is_read(values: list[bytes], part: int) -> None:
    # Given a batch of good and strange messages
    messages = [Received(0, offset, value, "a2/1") for offset, value in enumerate(values)]
    # When it is read in whole and in parts, and when it is read one by one
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("include.ingestion.ledger.PART", part)
        quick = Batch.of(FLIGHT_STREAM, messages, {})
        patch.setattr(Stream, "decode_all", lambda *_: None)
        slow = Batch.of(FLIGHT_STREAM, messages, {})
    # Then the same messages are dead letters for the same reasons, and what the upsert keeps is the same
    assert quick.dead == slow.dead
    assert (quick.records, quick.end, quick.rows.days) == (slow.records, slow.end, slow.rows.days)
    assert kept(quick) == kept(slow)


def kept(batch: Batch) -> dict[str, list[Any]]:
    """By flight, the line that the upsert stores; numbers as numbers."""
    found: dict[str, tuple[Any, list[Any]]] = {}
    for line in batch.rows.text.decode().splitlines():
        *columns, event_time, sequence = line.split("\t")
        moment = (datetime.fromisoformat(event_time), int(sequence))
        if columns[0] not in found or found[columns[0]][0] < moment:
            found[columns[0]] = (moment, [*map(_number, columns), event_time])
    return {key: line for key, (_, line) in found.items()}


def _number(text: str) -> Any:
    try:
        return float(text)
    except ValueError:
        return text


@pytest.mark.parametrize(
    "second",
    [
        lambda value: b"",
        lambda value: value + b"\x00",
        lambda value: value[:-1] + b',"dep_delay":1.0}',
        lambda value: value.replace(b',"arr_delay":null', b"").replace(b'"tailnum":"N14228"', b'"tailnum":":null"'),
        lambda value: value.replace(b"N14228", b"a\tb"),
    ],
)
def test_one_odd_message_keeps_all_from_being_read_at_once(second: Callable[[bytes], bytes]) -> None:
    value = FLIGHT_STREAM.encode(FLIGHT)
    assert FLIGHT_STREAM.decode_all([value, value]) is not None
    assert FLIGHT_STREAM.decode_all([value, second(value), value]) is None


def test_a_header_of_another_schema_keeps_all_from_being_read_at_once() -> None:
    value = WEATHER_STREAM.encode(OBSERVATION)
    assert WEATHER_STREAM.decode_all([value], {"a1/1", None}) is not None
    assert WEATHER_STREAM.decode_all([value], {"a1/1", ""}) is None


def test_records_of_an_older_version_are_read_at_once_too_and_versions_apart() -> None:
    newer = replace(
        WEATHER_STREAM,
        versions={
            1: WEATHER_STREAM.columns,
            2: (*WEATHER_STREAM.columns, Column("cloud_cover", Kind.NUMBER, required=False)),
        },
    )
    old, new = WEATHER_STREAM.encode(OBSERVATION), newer.encode({**OBSERVATION, "cloud_cover": 0.5})
    assert newer.decode_all([old, old]) is not None
    assert newer.decode_all([old, new]) is None
    mixed = Batch.of(newer, [Received(0, n, value) for n, value in enumerate([old, new])], {})
    assert [line.split("\t")[-3] for line in mixed.rows.text.decode().splitlines()] == ["\\N", "0.5"]


@given(st.binary(max_size=50))
def test_no_bytes_whatever_are_read_at_once_unless_they_are_a_record(value: bytes) -> None:
    with pytest.raises(PoisonError):
        FLIGHT_STREAM.decode(value)
    assert FLIGHT_STREAM.decode_all([value]) is None
