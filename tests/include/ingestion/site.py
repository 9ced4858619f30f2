"""A site to have incidents at: a topic's messages, workers as processes of their own, and what must be true of both."""

from __future__ import annotations

import gc
import math
import multiprocessing
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import date, datetime
from multiprocessing.connection import Connection
from multiprocessing.context import ForkProcess
from multiprocessing.synchronize import Event
from typing import Any

import psycopg
from psycopg import sql

from include.ingestion.brokers.broker import Broker, BrokerError, Consumer, Message, Producer, Received
from include.ingestion.ledger import Ledger
from include.ingestion.shift import Shift
from include.ingestion.streams import EVENT_TIME, SCHEMA, PoisonError, Record, Stream, instant
from include.ingestion.workers import ShiftTally, Worker, WorkerSpec
from include.use_cases.flight_delay.streams import STREAMS
from tests.waiting import PATIENCE, until

FORK = multiprocessing.get_context("fork")
GATE = 6447
"""The advisory lock that held writes wait for."""
BATCH = 100
WORKERS = {"worker_1": "a1", "worker_2": "a2"}

Rows = Mapping[tuple[Any, ...], Mapping[str, Any]]


@dataclass
class Site:
    """Topics, a database and who works on them. `published` holds what the broker has acknowledged."""

    url: str
    broker: Broker
    published: dict[str, list[Message]] = field(default_factory=dict)
    running: list[AtWork] = field(default_factory=list)

    # Acting

    def publish(self, topic: str, messages: Iterable[Message]) -> None:
        """Send messages and note them once they are acknowledged."""
        messages = list(messages)
        producer = self.broker.producer(topic)
        try:
            producer.send(messages)
        finally:
            producer.close()
        self.published.setdefault(topic, []).extend(messages)

    def start(
        self,
        worker: str,
        *,
        seconds: float = PATIENCE,
        drain: bool = True,
        batch: int = BATCH,
        broker: Broker | None = None,
    ) -> AtWork:
        """Start a worker's shift in a process of its own."""
        spec = WorkerSpec(worker, WORKERS[worker], batch)
        ours, theirs = FORK.Pipe(duplex=False)
        called_off = FORK.Event()
        shift = shift_until(called_off.is_set, seconds)
        process = FORK.Process(target=_work, args=(spec, self.url, broker or self.broker, shift, drain, theirs))
        process.start()
        theirs.close()
        at_work = AtWork(process, ours, called_off)
        self.running.append(at_work)
        return at_work

    def run(self, worker: str, **options: Any) -> ShiftTally:
        """A whole shift."""
        return self.start(worker, **options).ends()

    def close(self) -> None:
        """Let no process outlive its test."""
        for at_work in self.running:
            at_work.kill()

    @contextmanager
    def held_writes(self, *tables: str) -> Iterator[None]:
        """Inserts into these tables stop mid-write until this ends or the database crashes."""
        with psycopg.connect(self.url, autocommit=True) as session:
            session.execute(
                "CREATE OR REPLACE FUNCTION held() RETURNS trigger LANGUAGE plpgsql AS"
                f" $$ BEGIN PERFORM pg_advisory_xact_lock_shared({GATE}); RETURN NULL; END $$"
            )
            for table in tables:
                session.execute(
                    sql.SQL("CREATE TRIGGER held AFTER INSERT ON {} FOR EACH STATEMENT EXECUTE FUNCTION held()").format(
                        sql.Identifier(table)
                    )
                )
        holder = psycopg.connect(self.url, autocommit=True)
        holder.execute("SELECT pg_advisory_lock(%s)", [GATE])
        try:
            yield
        finally:
            holder.close()

    def wait_until_writing(self, *workers: str) -> dict[str, int]:
        """Wait until these workers are mid-write (held); their server processes."""
        deadline = time.monotonic() + PATIENCE
        wanted = {f"nightshift {consumer(worker)}": worker for worker in workers}
        with psycopg.connect(self.url, autocommit=True) as session:
            while time.monotonic() < deadline:
                rows = session.execute(
                    "SELECT application_name, pid FROM pg_stat_activity WHERE wait_event = 'advisory'"
                    " AND application_name = ANY(%s)",
                    [list(wanted)],
                ).fetchall()
                if len(rows) == len(wanted):
                    return {wanted[name]: pid for name, pid in rows}
                time.sleep(0.02)
        raise AssertionError(f"{workers} did not begin to write")

    def wait_until_stored(self, topic: str) -> None:
        """Wait until a topic's table holds what was published."""
        expected, _ = fold(STREAMS[topic], [message.value for message in self.published[topic]])
        until(lambda: self.rows(topic) == expected)

    # Looking

    def rows(self, topic: str, session: psycopg.Connection[Any] | None = None) -> Rows:
        """A topic's table, by natural key, in the words of its messages."""
        names = [*(column.name for column in STREAMS[topic].columns), EVENT_TIME]
        query = sql.SQL("SELECT {} FROM {}").format(
            sql.SQL(", ").join(map(sql.Identifier, names)), sql.Identifier(STREAMS[topic].table)
        )
        if session is None:
            with psycopg.connect(self.url) as session:
                found = session.execute(query).fetchall()
        else:
            found = session.execute(query).fetchall()
        rows = [{name: _said(value) for name, value in zip(names, row, strict=True)} for row in found]
        by_key = {_key(STREAMS[topic], row): row for row in rows}
        assert len(by_key) == len(rows), f"{topic}: a record is in its table twice"
        return by_key

    def offsets(self, topic: str, session: psycopg.Connection[Any] | None = None) -> dict[int, int]:
        """What the ledger says is done, by partition."""
        query = "SELECT partition, next_offset FROM consumer_offsets WHERE topic = %s"
        if session is not None:
            return dict(session.execute(query, [topic]).fetchall())
        with psycopg.connect(self.url) as session:
            return dict(session.execute(query, [topic]).fetchall())

    def dead(self, topic: str, session: psycopg.Connection[Any] | None = None) -> Counter[bytes]:
        """The dead letters' bytes."""
        query = "SELECT value FROM dead_letters WHERE topic = %s"
        if session is not None:
            return Counter(bytes(value) for (value,) in session.execute(query, [topic]).fetchall())
        with psycopg.connect(self.url) as session:
            return Counter(bytes(value) for (value,) in session.execute(query, [topic]).fetchall())

    def log(self, topic: str) -> list[Received]:
        """Everything that lies in a topic, in order within a partition."""
        consumer = self.broker.consumer(topic, "onlooker")
        found: list[Received] = []
        try:
            consumer.seek({})
            while (more := consumer.poll(10_000, 0.1)) or not consumer.caught_up():
                found += more
        finally:
            consumer.close()
        return found

    # Holding to it

    def everything_is_stored(self, *topics: str) -> None:
        """Every acknowledged record is in its table exactly once with its newest content; poison is set apart."""
        for topic in topics or self.published:
            messages = self.published[topic]
            expected, poison = fold(STREAMS[topic], [message.value for message in messages])
            stored = self.rows(topic)
            lost, strange = expected.keys() - stored.keys(), stored.keys() - expected.keys()
            assert not lost, f"{topic}: {len(lost)} of {len(expected)} records are lost, such as {min(lost)}"
            assert not strange, f"{topic}: {len(strange)} records that nobody published"
            differ = [key for key in expected if stored[key] != expected[key]]
            assert not differ, f"{topic}: {len(differ)} differ, such as {stored[differ[0]]} for {expected[differ[0]]}"
            assert self.dead(topic) == poison

    def ledger_is_true(self, *topics: str) -> None:
        """At this very moment table and dead letters hold what lies before the offsets, all of it and nothing else."""
        for topic in topics or [name for name, sent in self.published.items() if sent]:
            log = self.log(topic)
            with psycopg.connect(self.url) as session:
                session.isolation_level = psycopg.IsolationLevel.REPEATABLE_READ
                offsets = self.offsets(topic, session)
                stored, dead = self.rows(topic, session), self.dead(topic, session)
            done = [message.value for message in log if message.offset < offsets.get(message.partition, 0)]
            expected, poison = fold(STREAMS[topic], done)
            assert stored == expected, f"{topic}: the table is not what lies before its offsets {offsets}"
            assert dead == poison


@dataclass
class AtWork:
    """A worker's process."""

    process: ForkProcess
    answer: Connection
    called_off: Event

    def ends(self) -> ShiftTally:
        """Wait for the end of its shift."""
        assert self.answer.poll(2 * PATIENCE), "the worker did not end its shift in time"
        try:
            tally = self.answer.recv()
        except EOFError:
            raise AssertionError("the worker died") from None
        self.process.join()
        assert isinstance(tally, ShiftTally), tally
        return tally

    def is_over(self) -> ShiftTally:
        """End its shift, as its deadline does."""
        self.called_off.set()
        return self.ends()

    def kill(self) -> None:
        """SIGKILL, at whatever instruction it is."""
        self.process.kill()
        self.process.join()


def consumer(worker: str) -> str:
    """The name under which a worker keeps its offsets."""
    return f"flight_delay-{worker}"


def _work(spec: WorkerSpec, url: str, broker: Broker, shift: Shift, drain: bool, answer: Connection) -> None:
    gc.freeze()  # Kafka's clients do not outlive a fork: the parent's must not be taken apart here
    worker = Worker(spec, Ledger(url, consumer(spec.name), STREAMS[spec.topic]), broker)
    try:
        answer.send(worker.work(shift, drain=drain))
    except Exception as error:  # the test is told, whatever it is
        answer.send(repr(error))


def shift_until(over: Callable[[], object], seconds: float = PATIENCE) -> Shift:
    """A shift that ends as soon as a function says so, or at its deadline."""
    return Shift(time.monotonic() + seconds, lambda: math.inf if over() else time.monotonic())


def shift_of_pauses(seconds: float) -> Shift:
    """A shift whose clock goes on while it pauses only: no machine is too slow for what it does in between."""
    paused = [0.0]
    return Shift(seconds, lambda: math.fsum(paused), paused.append)


def fold(topic: Stream, values: Sequence[bytes]) -> tuple[Rows, Counter[bytes]]:
    """What messages amount to, by a plain reading of the rules: the newest event of a key, the later of equal ones."""
    rows: dict[tuple[Any, ...], Record] = {}
    poison: Counter[bytes] = Counter()
    for value in values:
        try:
            record = topic.decode(value)
        except PoisonError:
            poison[value] += 1
            continue
        record = {name: content for name, content in record.items() if name != SCHEMA}
        key = _key(topic, record)
        held = rows.get(key)
        if held is None or _moment(record) >= _moment(held):
            rows[key] = record
    return rows, poison


def _moment(record: Record) -> datetime:
    return datetime.fromisoformat(record[EVENT_TIME])


def _key(topic: Stream, record: Record) -> tuple[Any, ...]:
    return tuple(record[name] for name in topic.natural_key)


def _said(value: Any) -> Any:
    if isinstance(value, datetime):
        return instant(value)
    return value.isoformat() if isinstance(value, date) else value


class Wrapped:
    """A broker that passes on to another; those that do something else on the way begin here."""

    def __init__(self, broker: Broker) -> None:
        self.broker = broker

    def producer(self, topic: str) -> Producer:
        return self.broker.producer(topic)

    def consumer(self, topic: str, group: str) -> Consumer:
        return self.broker.consumer(topic, group)

    def expire(self, topic: str, before: datetime) -> int:
        return self.broker.expire(topic, before)


class HeldCommits(Wrapped):
    """A broker that takes no commit until it is let go: the moment between the ledger's commit and the broker's."""

    def __init__(self, broker: Broker) -> None:
        super().__init__(broker)
        self.reached = FORK.Event()
        self.released = FORK.Event()

    def consumer(self, topic: str, group: str) -> Consumer:
        consumer = self.broker.consumer(topic, group)
        commit = consumer.commit

        def held(positions: Mapping[int, int]) -> None:
            self.reached.set()
            assert self.released.wait(PATIENCE)
            commit(positions)

        consumer.commit = held  # type: ignore[method-assign]
        return consumer


class WatchedPolls(Wrapped):
    """A broker that tells when a poll of it has failed."""

    def __init__(self, broker: Broker) -> None:
        super().__init__(broker)
        self.failed = FORK.Event()

    def consumer(self, topic: str, group: str) -> Consumer:
        consumer = self.broker.consumer(topic, group)
        for name in ("poll", "log_id", "caught_up"):
            setattr(consumer, name, self._watched(getattr(consumer, name)))
        return consumer

    def _watched(self, call: Callable[..., Any]) -> Callable[..., Any]:
        def watched(*given: Any) -> Any:
            try:
                answer = call(*given)
            except BrokerError:
                self.failed.set()
                raise
            if answer is None:
                self.failed.set()
            return answer

        return watched
