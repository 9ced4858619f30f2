"""A collector: publishes what became known within a span of time, in the order in which it became known."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta
from typing import Any

from include.ingestion.brokers.broker import Message, Producer
from include.ingestion.streams import EVENT_TIME, Record, Stream, instant

LONGEST_DELAY = timedelta(hours=3)
"""How late a late record may come."""
DAYS_AROUND = 3
"""Records of this many days before and after may become known within a day."""
CHUNK = 5_000
"""Messages passed to the broker at a time."""


@dataclass(frozen=True)
class TimedRecord:
    """A record, and the instant at which it became known."""

    at: datetime
    record: Mapping[str, Any]


@dataclass(frozen=True)
class Lateness:
    """Which records come late: a share `rate` of them, by up to `LONGEST_DELAY`, drawn from a seed and the record.

    A record's delay depends on nothing else, so any part of a span can be published again.
    """

    seed: int = 2013
    rate: float = 0.02

    def __post_init__(self) -> None:
        if not 0 <= self.rate <= 1:
            raise ValueError(f"rate of late records {self.rate}: a share from 0 to 1")

    def released(self, event: TimedRecord, key: str) -> datetime:
        """When the event's record is published."""
        drawn = hashlib.blake2b(f"{self.seed}/{key}/{instant(event.at)}".encode(), digest_size=16).digest()
        late, delay = (int.from_bytes(part, "big") / 2**64 for part in (drawn[:8], drawn[8:]))
        return event.at + LONGEST_DELAY * delay if late < self.rate else event.at


@dataclass(frozen=True, order=True)
class Publication:
    """When an event is published; `key` and `at` put equal moments in order."""

    moment: datetime
    key: str
    at: datetime
    event: TimedRecord = field(compare=False)


def publications(topic: Stream, events: Iterable[TimedRecord], lateness: Lateness) -> list[Publication]:
    """The publications of a data day's events."""
    found = []
    for event in events:
        key = "/".join(str(event.record[name]) for name in topic.natural_key)
        found.append(Publication(lateness.released(event, key), key, event.at, event))
    return found


def within(day: Callable[[date], Iterable[Publication]], since: datetime, until: datetime) -> Iterator[TimedRecord]:
    """The events that are published from `since` on and before `until`, in order of their release.

    `day` answers a data day's publications. A late record comes after newer ones, so records get out
    of order.
    """
    start = since
    while start < until:
        end = min(until, start + timedelta(days=1))
        around = [start.date() + timedelta(days=offset) for offset in range(-DAYS_AROUND, DAYS_AROUND + 1)]
        due = [release for each in around for release in day(each) if start <= release.moment < end]
        yield from (release.event for release in sorted(due))
        start = end


def publish(topic: Stream, events: Iterable[TimedRecord], producer: Producer) -> int:
    """Send events as messages of a topic; answers how many, all of them acknowledged."""
    count = 0
    chunk: list[Message] = []
    for event in events:
        chunk.append(message(topic, {**event.record, EVENT_TIME: event.at}))
        if len(chunk) == CHUNK:
            count += producer.send(chunk)
            chunk.clear()
    return count + producer.send(chunk)


def message(topic: Stream, record: Record) -> Message:
    """A record as the message that carries it; `PoisonError` when it breaks the topic's schema."""
    value = topic.encode(record)
    return Message(topic.key_of(record), value, topic.schema_id)
