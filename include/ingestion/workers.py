"""A worker: writes a stream's messages to their table, batch by batch, until its shift is over."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Set
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from threading import Lock

import psycopg

from include.errors import FaultError, SettingsError
from include.excerpt import excerpt, first_line
from include.ingestion.breaker import Breaker
from include.ingestion.brokers.broker import EMPTY, Bounds, Broker, BrokerError, Consumer, beyond
from include.ingestion.ledger import REASON_LETTERS, UNTOLD, Batch, FencedError, Ledger, Positions, refuses
from include.ingestion.shift import Shift
from include.ingestion.streams import Stream

POLL_SECONDS = 1.0
DRAIN_SECONDS = 0.1
"""How long to wait for a message, and how long when the shift ends with the last one."""
SECOND_LOOK_SECONDS = 2.0
"""A log that seems shorter than what was read of it is checked again after this pause: its end may lag."""
DAYS_AT_ONCE = 100
"""Daily partitions that one transaction writes into; each takes locks, of which a server has a fixed number."""
PASSING = (psycopg.OperationalError, psycopg.InterfaceError, psycopg.InternalError)
"""Passing errors of the database: it is down, full, busy or starting."""

log = logging.getLogger("nightshift")


@dataclass(frozen=True)
class WorkerSpec:
    """One configuration of the worker: its name, its topic, and how many messages it holds at most."""

    name: str
    topic: str
    batch: int = 10_000


@dataclass
class ShiftTally:
    """The result of a shift."""

    messages: int = 0
    records: int = 0
    dead_letters: int = 0
    batches: int = 0
    database_errors: int = 0
    broker_errors: int = 0
    fenced: int = 0
    circuit_opened: int = 0
    expired_days: int = 0
    expired_segments: int = 0
    drained: bool = False
    owed: int = 0
    """Messages that were read but not written; the next shift reads them again."""
    gone: int = 0
    """Offsets that the log no longer had: its retention was too short."""
    begun_again: int = 0
    """Partitions that were read from their start again, because the log ended before what had been read of it."""
    log: str = ""
    """The log that was read last."""
    positions: dict[int, int] = field(default_factory=dict)


class Reader:
    """Reads and checks one batch while another is written: at most two are in memory, for any backlog."""

    def __init__(self, consumer: Consumer, topic: Stream, limit: int, shift: Shift, *, drain: bool) -> None:
        self.drained = False
        self._consumer = consumer
        self._topic = topic
        self._limit = limit
        self._shift = shift
        self._drain = drain
        self._lock = Lock()  # a consumer is used by one thread at a time
        self._pool = ThreadPoolExecutor(1, thread_name_prefix="reader")
        self._ahead: Future[Batch | None] | None = None
        self._positions: dict[int, int] = {}
        self._bounds: Mapping[int, Bounds] = {}
        self._log_id: str | None = None

    @property
    def where(self) -> str:
        """The topic's address."""
        return self._consumer.where

    def look(self) -> tuple[str | None, Mapping[int, Bounds]]:
        """The present log, or None, and its content; what was read ahead is forgotten."""
        self._forget()
        with self._lock:
            self._log_id = self._consumer.log_id()
            self._bounds = self._consumer.bounds() if self._log_id is not None else {}
            return self._log_id, self._bounds

    def begin(self, positions: Positions) -> None:
        """Read from these positions, or from the log's beginning."""
        self._forget()
        self._positions = dict(positions)
        oldest = {partition: bounds.first for partition, bounds in self._bounds.items()}
        with self._lock:
            self._consumer.seek({p: max(positions.get(p, 0), oldest.get(p, 0)) for p in {*positions, *oldest}})

    def next(self) -> Batch | None:
        """The next batch; None if no message came in time; `drained` then says whether none is left."""
        ahead, self._ahead = self._ahead, None
        return ahead.result() if ahead is not None else self._read()

    def go_on(self, end: Positions) -> None:
        """Begin to read what follows a batch's end."""
        self._positions |= end
        self._ahead = self._pool.submit(self._read)

    def commit(self, positions: Positions) -> None:
        """Commit the ledger's offsets to the broker."""
        with self._lock:
            self._consumer.commit(positions)

    def close(self) -> int:
        """Stop reading; returns how many messages were read ahead and not written."""
        owed = self._forget()
        self._pool.shutdown()
        return owed

    def _forget(self) -> int:
        ahead, self._ahead = self._ahead, None
        with suppress(BrokerError):
            batch = ahead.result() if ahead is not None else None
            return len(batch.messages) if batch is not None else 0
        return 0

    def _read(self) -> Batch | None:
        patience = DRAIN_SECONDS if self._drain else POLL_SECONDS
        with self._lock:
            messages = self._consumer.poll(self._limit, min(patience, self._shift.remaining))
            drained = self._drain and not messages and self._consumer.caught_up()
            self._hold_to_log()
        self.drained = drained
        # A consumer that has rejoined its group may begin a little before the ledger's position.
        owed = [message for message in messages if message.offset >= self._positions.get(message.partition, 0)]
        return Batch.of(self._topic, owed, self._positions) if owed else None

    def _hold_to_log(self) -> None:
        """Make sure that the log is still the same one."""
        name = self._topic.name
        found = self._consumer.log_id()
        if found is None:
            raise BrokerError(f"topic {name} is away: nothing is left at {self.where}")
        if found != self._log_id:
            raise BrokerError(f"topic {name} has become another log")


class Worker:
    """Reads, checks, writes; then commits to the broker. The tables' offsets are authoritative, the broker's follow."""

    def __init__(self, spec: WorkerSpec, ledger: Ledger, broker: Broker) -> None:
        self.spec = spec
        self.ledger = ledger
        self.broker = broker
        self.tally = ShiftTally()
        self._database = Breaker()
        self._broker = Breaker()
        self._trouble = ""
        self._positions: dict[int, int] | None = None
        self._told: set[str] = set()
        self._gone: dict[tuple[str, int], int] = {}

    def work(self, shift: Shift, *, drain: bool = False) -> ShiftTally:
        """Work until the shift is over, or with `drain` until no message is left."""
        with closing(self.broker.consumer(self.ledger.topic.name, self.ledger.consumer)) as consumer:
            reader = Reader(consumer, self.ledger.topic, self.spec.batch, shift, drain=drain)
            try:
                while not shift.over and not self.tally.drained:
                    self._turn(reader, shift, drain=drain)
            except (psycopg.errors.UndefinedTable, psycopg.errors.UndefinedColumn) as error:
                raise FaultError(
                    f"{self.spec.name}: {_line(error)}; "
                    "bring the tables up to date: python -m include.database.migrate upgrade"
                ) from error
            finally:
                self.tally.owed += reader.close()
                self.ledger.close()
        self.tally.gone = sum(self._gone.values())
        self.tally.circuit_opened = self._database.opened
        self.tally.positions = dict(self._positions or {})
        return self.tally

    @property
    def trouble(self) -> str:
        """The error of a shift that ended with a part out of reach."""
        return self._trouble

    def expire(self, days: int, today: datetime | None = None) -> None:
        """Drop the table's partitions that are older than this many days; the next shift does what this one cannot."""
        before = (today or datetime.now(UTC)).date() - timedelta(days=days)
        try:
            self.tally.expired_days = len(self.ledger.expire(before))
        except PASSING as error:
            log.warning("%s: old partitions stay for now: %s", self.spec.name, _line(error))
        finally:
            self.ledger.close()

    def expire_topic(self, days: int, now: datetime | None = None) -> None:
        """Delete what the broker has kept longer than this many days and every group has read."""
        before = (now or datetime.now(UTC)) - timedelta(days=days)
        try:
            self.tally.expired_segments = self.broker.expire(self.ledger.topic.name, before)
        except BrokerError as error:
            log.warning("%s: old segments stay for now: %s", self.spec.name, error)

    def _turn(self, reader: Reader, shift: Shift, *, drain: bool) -> None:
        """Start at the ledger's position, read one batch, store it while the next one is read."""
        if self._positions is None and not self._take_up(reader, shift, drain=drain):
            return
        try:
            batch = reader.next()
        except BrokerError as error:
            self._positions = None  # the progress of a failed read is unknown: begin again at the ledger's position
            self._broker_failed(shift, error)
            return
        self._recovered(self._broker)
        if batch is None:
            self.tally.drained = reader.drained
            return
        reader.go_on(batch.end)
        if self._store(batch, shift):
            self._commit(reader, batch)

    def _take_up(self, reader: Reader, shift: Shift, *, drain: bool) -> bool:
        try:
            known = self.ledger.logs()
            log_id, bounds = reader.look()
            if log_id is None:
                self._miss(reader, shift, known, drain=drain)
                return False
            positions = self._stand(reader, shift, known, log_id, bounds)
            reader.begin(positions)
        except PASSING as error:
            self._database_failed(shift, error)
            return False
        except BrokerError as error:
            self._broker_failed(shift, error)
            return False
        self._recovered(self._database)
        self._positions = positions
        self.tally.log = log_id
        return True

    def _miss(self, reader: Reader, shift: Shift, known: Set[str], *, drain: bool) -> None:
        """The topic is missing: away if it existed before, else still to come, or misspelt."""
        name = self.ledger.topic.name
        if known or self.tally.log:
            raise BrokerError(f"topic {name} is away: it was read before, and nothing is left at {reader.where}")
        if drain:
            raise SettingsError(
                f"there is no topic {name} at {reader.where}; start its collector, or correct NIGHTSHIFT_BROKER"
            )
        self._tell(f"there is no topic {name} at {reader.where} yet; waiting for its collector")
        shift.wait(POLL_SECONDS)

    def _stand(
        self, reader: Reader, shift: Shift, known: Set[str], log_id: str, bounds: Mapping[int, Bounds]
    ) -> dict[int, int]:
        """The ledger's positions in this log; a mismatch is reported, and repaired by reading again."""
        name = self.ledger.topic.name
        if log_id not in known and UNTOLD in known:
            self._tell(f"offsets in topic {name} that name no log count for {log_id}")
        elif log_id not in known and known:
            self._tell(
                f"topic {name} is another log than before: it is {log_id}, offsets are known of "
                f"{', '.join(sorted(known))}; it is read from its start, and what was not read of the other is left"
            )
        positions = self.ledger.take_up(log_id)
        if beyond(positions, bounds):
            shift.wait(SECOND_LOOK_SECONDS)
            found, bounds = reader.look()
            if found != log_id:
                raise BrokerError(f"topic {name} has become another log")
            if ahead := beyond(positions, bounds):
                self._begin_again(log_id, ahead, bounds)
                positions = self.ledger.take_up(log_id)
        for partition, offset in positions.items():
            if missed := max(bounds.get(partition, EMPTY).first - offset, 0):
                self._gone[log_id, partition] = missed
                self._tell(
                    f"topic {name}, partition {partition}: {missed} offsets from {offset} on are gone from the log, "
                    "unread; keep its records for longer than a worker may be away"
                )
        return positions

    def _begin_again(self, log_id: str, ahead: Positions, bounds: Mapping[int, Bounds]) -> None:
        for partition, offset in ahead.items():
            log.warning(
                "%s: topic %s, partition %d: offset %d was read, the log (%s) ends at %d: "
                "it was cut or restored; it is read from its start again",
                self.spec.name,
                self.ledger.topic.name,
                partition,
                offset,
                log_id,
                bounds.get(partition, EMPTY).end,
            )
        self.ledger.begin_again(ahead)
        self.tally.begun_again += len(ahead)

    def _tell(self, line: str) -> None:
        """Log something once in a shift."""
        if line not in self._told:
            self._told.add(line)
            log.warning("%s: %s", self.spec.name, line)

    def _store(self, batch: Batch, shift: Shift) -> bool:
        """Write a batch, with retries; False if it was not written, or another worker was first."""
        while not shift.over:
            try:
                self._write(batch, shift)
            except FencedError as fenced:
                if fenced.positions != batch.end:
                    self.tally.fenced += 1
                    self._positions = None
                    return False
                log.info("%s: a batch was stored before the connection was lost", self.spec.name)
            except PASSING as error:
                self._database_failed(shift, error)
                continue
            self._recovered(self._database)
            return True
        self.tally.owed += len(batch.messages)
        return False

    def _write(self, batch: Batch, shift: Shift) -> None:
        """Write a batch; when the database refuses a record, halve until that one is found and set apart."""
        single = len(batch.messages) == 1
        if len(batch.rows.days) > DAYS_AT_ONCE and not single:
            self._halve(batch, shift)
            return
        try:
            self.ledger.write(batch, shift.remaining)
        except psycopg.Error as error:
            if not refuses(error):
                raise
            if not single:
                self._halve(batch, shift)
                return
            batch = Batch.refused(batch.messages[0], batch.start, _line(error))
            self.ledger.write(batch, shift.remaining)
        self._count(batch)

    def _halve(self, batch: Batch, shift: Shift) -> None:
        middle = len(batch.messages) // 2
        first = Batch.of(self.ledger.topic, batch.messages[:middle], batch.start)
        self._write(first, shift)
        self._write(Batch.of(self.ledger.topic, batch.messages[middle:], {**batch.start, **first.end}), shift)

    def _count(self, batch: Batch) -> None:
        self.tally.batches += 1
        self.tally.messages += len(batch.messages)
        self.tally.records += batch.records
        self.tally.dead_letters += len(batch.dead)
        for letter in batch.dead:
            where = f"{self.ledger.topic.name}/{letter.message.partition}/{letter.message.offset}"
            log.warning("%s: dead letter %s: %s", self.spec.name, where, letter.reason)
        if self._positions is not None:
            self._positions |= batch.end

    def _commit(self, reader: Reader, batch: Batch) -> None:
        """Commit to the broker what the ledger already holds; if that fails, the next commit repeats it."""
        self._positions = {**(self._positions or {}), **batch.end}
        try:
            reader.commit(batch.end)
        except BrokerError as error:
            self.tally.broker_errors += 1
            log.warning("%s: the broker was not told: %s", self.spec.name, error)

    def _database_failed(self, shift: Shift, error: Exception) -> None:
        self.tally.database_errors += 1
        self.ledger.close()
        self._pause(self._database, shift, error)

    def _broker_failed(self, shift: Shift, error: BrokerError) -> None:
        self.tally.broker_errors += 1
        self._pause(self._broker, shift, error)

    def _recovered(self, breaker: Breaker) -> None:
        breaker.succeeded()
        self._trouble = ""

    def _pause(self, breaker: Breaker, shift: Shift, error: Exception) -> None:
        seconds = breaker.failed()
        self._trouble = _line(error)
        log.warning("%s: %s; circuit %s, again in %.1f s", self.spec.name, _line(error), breaker.circuit, seconds)
        shift.wait(seconds)


def _line(error: Exception) -> str:
    return excerpt(first_line(error), REASON_LETTERS)
