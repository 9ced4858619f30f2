"""The topics of flight delay, `a1` weather observations and `a2` flight records, and the workers that store them."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, date, datetime, time, timedelta
from typing import Any

import pyarrow as pa

from include.ingestion.collector import Event
from include.ingestion.topics import Record, Topic
from include.ingestion.workers import WorkerSpec
from include.sources.source import Source
from include.use_cases.flight_delay.contracts import RAW
from include.use_cases.flight_delay.spec import SPEC

OUTCOME = ("departed_at", "dep_delay", "arrived_at", "arr_delay")
KNOWN_AHEAD = timedelta(days=1)
"""A day's flights are published when the day before begins: the nightly horizon scores them ahead."""


def _flight_id_holds(record: Record) -> str | None:
    # The table is cut by date: a flight_id that came with two dates would be two rows.
    expected = f"{record['date']}-{record['carrier']}-{record['flight']}-{record['origin']}"
    return None if record["flight_id"] == expected else f"flight_id: {record['flight_id']!r:.60} is not {expected}"


def _hour_holds(record: Record) -> str | None:
    return None if record["observed_at"] < record["known_at"] else "known_at: is not after observed_at"


A1 = Topic(
    name="a1",
    title="Weather observations",
    table="weather_observations",
    key="origin",
    natural_key=("origin", "observed_at"),
    day="observed_at",
    anchor="observed_at",
    tolerance=timedelta(days=3),
    versions={1: RAW["weather"].columns},
    check=_hour_holds,
)
A2 = Topic(
    name="a2",
    title="Flight records: planned, departed, landed",
    table="flights",
    key="flight_id",
    natural_key=("flight_id", "date"),
    day="date",
    anchor="scheduled_departure",
    tolerance=timedelta(days=4),
    versions={1: RAW["flights"].columns},
    check=_flight_id_holds,
)
TOPICS = {topic.name: topic for topic in (A1, A2)}
WORKERS = {worker.name: worker for worker in (WorkerSpec("worker_1", "a1"), WorkerSpec("worker_2", "a2"))}


def events(source: Source, topic: str, day: date) -> Iterator[Event]:
    """What the records of a data day made known, and when: an observation once, a flight up to three times.

    A flight is planned (known a day ahead), departed, and landed; each time the whole record as it was known then. A
    cancelled flight is only ever planned.
    """
    if topic == A1.name:
        for record in _rows(source.read("weather", day)):
            yield Event(record["known_at"], record)
        return
    planned = datetime.combine(day - KNOWN_AHEAD, time(SPEC.day_starts.hour), SPEC.zone).astimezone(UTC)
    for record in _rows(source.read("flights", day)):
        plan = record | dict.fromkeys(OUTCOME)
        yield Event(planned, plan)
        if record["departed_at"] is not None:
            departed = plan | {"departed_at": record["departed_at"], "dep_delay": record["dep_delay"]}
            yield Event(record["departed_at"], departed)
        if record["arrived_at"] is not None:
            yield Event(record["arrived_at"], record)


def _rows(table: pa.Table) -> Iterator[dict[str, Any]]:
    for batch in table.to_batches(max_chunksize=1000):
        yield from batch.to_pylist()
