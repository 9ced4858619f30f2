"""collect: publish to a topic what became known within a span, or becomes known now, from the source."""

from __future__ import annotations

import json
import logging
from contextlib import closing
from datetime import UTC, date, datetime, timedelta
from functools import lru_cache
from typing import Any

from pydantic import AwareDatetime, Field

from formats.names import none_of
from include.errors import SettingsError
from include.ingestion.breaker import Breaker
from include.ingestion.brokers.address import open_broker
from include.ingestion.brokers.broker import Broker, BrokerError, Producer
from include.ingestion.collector import DAYS_AROUND, Lateness, Publication, publications, publish, within
from include.ingestion.shift import Shift
from include.ingestion.streams import Stream, instant
from include.sources.source import Source
from include.step import Context, Result, StepArguments, main
from include.storage.lake import Lake, to_json

TICK_SECONDS = 5.0
"""How often a live collector looks for what has become known."""
FIRST_LOOK = timedelta(days=2)
"""How far back the first live collector begins: what is planned a day ahead for the rest of this day was known then."""
DAYS_HELD = 2 * DAYS_AROUND + 3

log = logging.getLogger("nightshift")


class CollectArguments(StepArguments):
    """Command-line arguments of collect: a span (`since`, `until`), or a deadline until which it publishes live.

    Without a span it publishes data day `date` of the use case. Live, it continues where the last
    live collector of the topic ended; the first one begins `FIRST_LOOK` back.
    """

    topic: str
    since: AwareDatetime | None = None
    until: AwareDatetime | None = None
    deadline: AwareDatetime | None = None
    live: bool = False
    seed: int = 2013
    late: float = Field(0.02, ge=0, le=1)


def collect(context: Context, arguments: CollectArguments) -> Result:
    """Publish a topic's records; they are all acknowledged when it returns.

    Raises `SettingsError` for an unknown topic or span, `BrokerError` when the broker does not take them.
    """
    topic = _topic(context, arguments)
    lateness = Lateness(arguments.seed, arguments.late)
    source = context.use_case.part("sources").sample(context.settings, live=arguments.live)
    collector = Collector(context, topic, lateness, source, open_broker(context.settings))
    if arguments.live:
        if arguments.deadline is None:
            raise SettingsError("collect: --live needs --deadline, the moment to end at")
        count = collector.live(Shift.until(arguments.deadline))
        return Result(rows={topic.name: count}, facts={"published_through": collector.published_through()})
    since, until = _span(context, arguments)
    with closing(collector.broker.producer(topic.name)) as producer:
        count = collector.span(producer, since, until)
    return Result(rows={topic.name: count}, facts={"since": instant(since), "until": instant(until)})


class Collector:
    """Publishes a topic of a use case's source."""

    def __init__(self, context: Context, topic: Stream, lateness: Lateness, source: Source, broker: Broker) -> None:
        self.lake: Lake = context.lake
        self.topic = topic
        self.lateness = lateness
        self.broker = broker
        events = context.use_case.part("streams").events

        # A day's releases are asked for by each of the days around it.
        @lru_cache(DAYS_HELD)
        def day(day: date) -> list[Publication]:
            return publications(topic, events(source, topic.name, day), lateness)

        self._day = day

    def span(self, producer: Producer, since: datetime, until: datetime) -> int:
        """Publish what is released from `since` on and before `until`."""
        count = publish(self.topic, within(self._day, since, until), producer)
        log.info("collect: %s: %d records from %s to %s", self.topic.name, count, instant(since), instant(until))
        return count

    def live(self, shift: Shift) -> int:
        """Publish what becomes known until the shift is over; waits for a broker that is away."""
        breaker = Breaker()
        count = 0
        with closing(self.broker.producer(self.topic.name)) as producer:
            while not shift.over:
                now = datetime.now(UTC)
                try:
                    count += self._tick(producer, now)
                except BrokerError as error:
                    log.warning("collect: %s", error)
                    shift.wait(breaker.failed())
                    continue
                breaker.succeeded()
                shift.wait(TICK_SECONDS)
        return count

    def published_through(self) -> str:
        """The instant up to which live records are published."""
        return str(self._noted().get("published_through") or instant(datetime.now(UTC) - FIRST_LOOK))

    def _tick(self, producer: Producer, now: datetime) -> int:
        """Publish what has become known since the last time, to the log that had it, or from further back."""
        log_id, noted = producer.log_id(), self._noted().get("log")
        since = datetime.fromisoformat(self.published_through())
        if noted is not None and log_id != noted:
            # The last collector published to another log. Duplicates are stored once.
            since = min(since, now - FIRST_LOOK)
        # After the wall clock was put back, nothing is new until it passes what was published.
        if since >= now:
            return 0
        count = self.span(producer, since, now)
        log_id = log_id or producer.log_id()
        if noted not in (None, log_id):
            log.warning(
                "collect: topic %s is another log than before (it is %s, it was %s); published again from %s",
                self.topic.name,
                log_id,
                noted,
                instant(since),
            )
        # After the broker's answer: a collector that is killed between the two publishes a little again.
        self.lake.put(self._note_name, to_json({"published_through": instant(now), "log": log_id}))
        return count

    def _noted(self) -> dict[str, Any]:
        try:
            noted: dict[str, Any] = json.loads(self.lake.get(self._note_name))
        except FileNotFoundError:
            return {}
        return noted

    @property
    def _note_name(self) -> str:
        return f"collectors/{self.topic.name}.json"


def _topic(context: Context, arguments: CollectArguments) -> Stream:
    topics: dict[str, Stream] = context.use_case.part("streams").STREAMS
    if arguments.topic not in topics:
        raise SettingsError(f"--topic {arguments.topic} {none_of(arguments.topic, topics)}")
    return topics[arguments.topic]


def _span(context: Context, arguments: CollectArguments) -> tuple[datetime, datetime]:
    spec = context.use_case.spec
    since = arguments.since or spec.day_start(arguments.date).astimezone(UTC)
    until = arguments.until or spec.day_end(arguments.date).astimezone(UTC)
    if until <= since:
        raise SettingsError(f"collect: the span ends {instant(until)}, before it begins {instant(since)}")
    return since, until


if __name__ == "__main__":
    main(CollectArguments, collect)
