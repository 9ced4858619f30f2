"""The streams of flight delay: weather observations (`a1`) and flight records (`a2`)."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, date, datetime, time, timedelta
from typing import Any

import pyarrow as pa

from include.ingestion.collector import TimedRecord
from include.ingestion.rules import After, Composed
from include.ingestion.streams import Stream
from include.sources.source import Source
from include.use_cases.flight_delay.contracts import RAW
from include.use_cases.flight_delay.spec import SPEC

OUTCOME = ("departed_at", "dep_delay", "arrived_at", "arr_delay")
KNOWN_AHEAD = timedelta(days=1)
"""A day's flights are published when the day before begins: the nightly horizon scores them ahead."""


WEATHER_STREAM = Stream(
    name="a1",
    title="Weather observations",
    table="weather_observations",
    key="origin",
    natural_key=("origin", "observed_at"),
    day="observed_at",
    anchor="observed_at",
    tolerance=timedelta(days=3),
    versions={1: RAW["weather"].columns},
    rules=(After("known_at", "observed_at"),),
)
FLIGHT_STREAM = Stream(
    name="a2",
    title="Flight records: planned, departed, landed",
    table="flights",
    key="flight_id",
    natural_key=("flight_id", "date"),
    day="date",
    anchor="scheduled_departure",
    tolerance=timedelta(days=4),
    versions={1: RAW["flights"].columns},
    # The table is cut by date: a flight_id that came with two dates would be two rows.
    rules=(Composed("flight_id", "{date}-{carrier}-{flight}-{origin}"),),
)
STREAMS = {stream.name: stream for stream in (WEATHER_STREAM, FLIGHT_STREAM)}
TABLES = {"schedule": FLIGHT_STREAM, "flights": FLIGHT_STREAM, "weather": WEATHER_STREAM}
"""The stream whose table holds each topic of the spec."""


def events(source: Source, topic: str, day: date) -> Iterator[TimedRecord]:
    """What the records of a data day made known, and when: an observation once, a flight up to three times.

    A flight is planned (known a day ahead), departed, and landed; each time the whole record as it was known then. A
    cancelled flight is only ever planned.
    """
    if topic == WEATHER_STREAM.name:
        for record in _rows(source.read("weather", day)):
            yield TimedRecord(record["known_at"], record)
        return
    planned = datetime.combine(day - KNOWN_AHEAD, time(SPEC.day_starts.hour), SPEC.zone).astimezone(UTC)
    for record in _rows(source.read("flights", day)):
        plan = record | dict.fromkeys(OUTCOME)
        yield TimedRecord(planned, plan)
        if record["departed_at"] is not None:
            departed = plan | {"departed_at": record["departed_at"], "dep_delay": record["dep_delay"]}
            yield TimedRecord(record["departed_at"], departed)
        if record["arrived_at"] is not None:
            yield TimedRecord(record["arrived_at"], record)


def _rows(table: pa.Table) -> Iterator[dict[str, Any]]:
    for batch in table.to_batches(max_chunksize=1000):
        yield from batch.to_pylist()
