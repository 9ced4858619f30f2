"""The ledger: a batch of records and the offsets that account for it, in one transaction or not at all."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date
from functools import cached_property
from typing import Any

import psycopg
import pyarrow as pa
from psycopg import sql

from include.excerpt import excerpt
from include.ingestion.brokers.broker import Received
from include.ingestion.partitions import DailyPartitions
from include.ingestion.rows import NO_ROWS, CopyRows, names_of, newest, table_of
from include.ingestion.stream_table import StreamTable
from include.ingestion.streams import PoisonError, Record, Stream

SESSION: dict[str, Any] = {
    "connect_timeout": 2,
    "tcp_user_timeout": 5_000,  # ms: a silent peer is given up by then
    "keepalives_idle": 5,
    "keepalives_interval": 2,
    "keepalives_count": 2,
    "client_encoding": "utf8",
}
LONGEST_LIMIT = 2_147_483_647
"""Milliseconds, as many as PostgreSQL can count: 24 days; a shift may be longer."""
PART = 500
"""Messages that are read one by one when there is something odd among them."""
REASON_LETTERS = 300
REFUSALS = ("22", "23", "44", "54", "P0")
"""Classes of database errors that a record causes: its data, a constraint, a limit, a trigger."""
SET_APART = """
INSERT INTO dead_letters (consumer, topic, log, partition, topic_offset, schema_id, reason, value)
SELECT letter.* FROM (VALUES (%s, %s, %s, %s::integer, %s::bigint, %s::bytea, %s, %s::bytea))
    letter (consumer, topic, log, partition, topic_offset, schema_id, reason, value)
WHERE NOT EXISTS (
    SELECT FROM dead_letters known
    WHERE (known.topic, known.partition, known.topic_offset, known.consumer, known.log, known.value)
        = (letter.topic, letter.partition, letter.topic_offset, letter.consumer, letter.log, letter.value)
)"""
"""A log that is read from its start again creates no letter twice."""
UNTOLD = ""
"""The log of rows that are older than the column `log`."""

Positions = Mapping[int, int]
"""The next offset owed, by partition."""

log = logging.getLogger("nightshift")


class FencedError(Exception):
    """Another worker has moved past this batch's beginning; `positions` are the ledger's."""

    def __init__(self, positions: Positions) -> None:
        super().__init__(f"the ledger stands at {dict(positions)}")
        self.positions = positions


def refuses(error: psycopg.Error) -> bool:
    """Whether the database refuses the data itself, so that a retry would fail in the same way."""
    if error.sqlstate is None:
        return isinstance(error, psycopg.DataError)
    return error.sqlstate.startswith(REFUSALS)


@dataclass(frozen=True)
class DeadLetter:
    """A message that cannot be stored, and why: one line that every table and log takes."""

    message: Received
    reason: str

    @classmethod
    def of(cls, message: Received, reason: str) -> DeadLetter:
        """The letter for a reason that may quote the message."""
        return cls(message, excerpt(reason, REASON_LETTERS))


@dataclass(frozen=True)
class Batch:
    """Messages as they came, from `start` on, sorted into rows and dead letters."""

    start: Positions
    messages: Sequence[Received]
    rows: CopyRows
    dead: Sequence[DeadLetter]
    end: Positions

    @property
    def records(self) -> int:
        """How many messages were records, those included that a newer one of the batch replaces."""
        return len(self.messages) - len(self.dead)

    @classmethod
    def of(cls, topic: Stream, messages: Sequence[Received], positions: Positions) -> Batch:
        """Check every message against its schema."""
        end = {message.partition: message.offset + 1 for message in messages}
        parts: list[pa.Table] = []
        dead: list[DeadLetter] = []
        _sort(topic, messages, parts, dead)
        start = {partition: positions.get(partition, 0) for partition in end}
        return cls(start, messages, CopyRows.of(topic, parts), dead, end)

    @classmethod
    def refused(cls, message: Received, positions: Positions, reason: str) -> Batch:
        """One message that the database refuses."""
        start = {message.partition: positions.get(message.partition, 0)}
        end = {message.partition: message.offset + 1}
        return cls(start, [message], NO_ROWS, [DeadLetter.of(message, reason)], end)


def _sort(topic: Stream, messages: Sequence[Received], parts: list[pa.Table], dead: list[DeadLetter]) -> None:
    """Read messages all at once; if that fails, in parts, and only a faulty part one by one."""
    records = _read_at_once(topic, messages)
    if records is not None:
        parts.append(records)
    elif len(messages) > PART:
        for first in range(0, len(messages), PART):
            _sort(topic, messages[first : first + PART], parts, dead)
    else:
        _sort_singly(topic, messages, parts, dead)


def _read_at_once(topic: Stream, messages: Sequence[Received]) -> pa.Table | None:
    schema_ids = {message.schema_id for message in messages}
    try:
        records = topic.decode_all([message.value for message in messages], schema_ids)
        return None if records is None else newest(topic, records)
    except Exception:  # any error: one by one finds the message that causes it
        log.debug("reading one by one", exc_info=True)
        return None


def _sort_singly(topic: Stream, messages: Sequence[Received], parts: list[pa.Table], dead: list[DeadLetter]) -> None:
    records: list[Record] = []
    for message in messages:
        try:
            records.append(topic.decode(message.value, message.schema_id))
        except PoisonError as error:
            dead.append(DeadLetter.of(message, str(error)))
        except Exception as error:  # an error of our own while reading a record affects that record, not the topic
            dead.append(DeadLetter.of(message, f"cannot be read: {type(error).__name__}: {error}"))
    parts.append(table_of(topic, records))


@dataclass
class Ledger:
    """One consumer's access to its table, made when it is missing. One connection of its own, opened when needed.

    `owner` is the use case that alone may write to the table; without one nobody is asked.
    """

    url: str
    consumer: str
    topic: Stream
    owner: str = ""
    _log_id: str = field(default=UNTOLD, init=False)
    _connection: psycopg.Connection[tuple[Any, ...]] | None = field(default=None, repr=False)
    _partitions: DailyPartitions = field(init=False, repr=False)

    def __post_init__(self) -> None:
        self._partitions = DailyPartitions(self.topic.table)

    def logs(self) -> set[str]:
        """The logs of this topic with offsets; `UNTOLD` for offsets without a log."""
        rows = self._open().execute(
            "SELECT DISTINCT log FROM consumer_offsets WHERE consumer = %s AND topic = %s",
            [self.consumer, self.topic.name],
        )
        return {str(log_id) for (log_id,) in rows.fetchall()}

    def take_up(self, log_id: str) -> dict[int, int]:
        """Use this log from now on; returns the position of every partition.

        Offsets without a log count for it.
        """
        connection, own = self._open(), [self.consumer, self.topic.name, log_id]
        connection.execute(
            "UPDATE consumer_offsets SET log = %s WHERE consumer = %s AND topic = %s AND log = %s",
            [log_id, self.consumer, self.topic.name, UNTOLD],
        )
        rows = connection.execute(
            "SELECT partition, next_offset FROM consumer_offsets WHERE consumer = %s AND topic = %s AND log = %s", own
        )
        self._log_id = log_id
        return {int(partition): int(offset) for partition, offset in rows.fetchall()}

    def begin_again(self, positions: Positions) -> None:
        """Reset these partitions to their start, if they are still at these positions."""
        with self._open().transaction(), self._open().cursor() as cursor:
            cursor.executemany(
                "UPDATE consumer_offsets SET next_offset = 0, updated_at = now()"
                " WHERE consumer = %s AND topic = %s AND log = %s AND partition = %s AND next_offset = %s",
                [(*self._own, partition, offset) for partition, offset in positions.items()],
            )

    def write(self, batch: Batch, seconds: float) -> None:
        """Store a batch's records, dead letters and offsets, all or nothing, within this many seconds.

        Raises `FencedError` if the ledger is not at the batch's beginning, and psycopg's errors.
        """
        connection = self._open()
        self._partitions.ensure(connection, batch.rows.days)
        try:
            self._write(connection, batch, seconds)
        except psycopg.errors.CheckViolation as error:
            if error.diag.constraint_name is not None:
                raise
            self._partitions.forget()  # no such partition: it was dropped just now
            self._partitions.ensure(connection, batch.rows.days)
            self._write(connection, batch, seconds)

    def _write(self, connection: psycopg.Connection[tuple[Any, ...]], batch: Batch, seconds: float) -> None:
        with connection.transaction(), connection.cursor() as cursor:
            cursor.execute("SELECT set_config('statement_timeout', %s, true)", [_milliseconds(seconds)])
            self._fence(cursor, batch)
            if batch.rows.count:
                with cursor.copy(self._copy_in) as copy:
                    copy.write(batch.rows.text)
                cursor.execute(self._upsert)
            cursor.executemany(SET_APART, [self._dead(letter) for letter in batch.dead])
            cursor.executemany(
                "UPDATE consumer_offsets SET next_offset = %s, updated_at = now()"
                " WHERE consumer = %s AND topic = %s AND log = %s AND partition = %s",
                [(end, *self._own, partition) for partition, end in sorted(batch.end.items())],
            )

    def expire(self, before: date) -> list[date]:
        """Drop the table's daily partitions that are older than a day; answers which."""
        return self._partitions.drop(self._open(), before)

    def close(self) -> None:
        """Close the connection, in any state."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def _open(self) -> psycopg.Connection[tuple[Any, ...]]:
        if self._connection is None or self._connection.closed:
            self._connection = psycopg.connect(
                self.url, autocommit=True, application_name=f"nightshift {self.consumer}", **SESSION
            )
            StreamTable(self.topic, self.owner).prepare(self._connection)
            self._connection.execute(self._staging)
        return self._connection

    def _fence(self, cursor: psycopg.Cursor[tuple[Any, ...]], batch: Batch) -> None:
        """Lock the batch's offsets for this transaction, and make sure that no worker has moved them."""
        cursor.executemany(
            "INSERT INTO consumer_offsets (consumer, topic, log, partition, next_offset) VALUES (%s, %s, %s, %s, 0)"
            " ON CONFLICT DO NOTHING",
            [(*self._own, partition) for partition in sorted(batch.start)],
        )
        cursor.execute(
            "SELECT partition, next_offset FROM consumer_offsets WHERE consumer = %s AND topic = %s AND log = %s"
            " AND partition = ANY(%s) ORDER BY partition FOR UPDATE",
            [*self._own, sorted(batch.start)],
        )
        stands = {int(partition): int(offset) for partition, offset in cursor.fetchall()}
        if stands != dict(batch.start):
            raise FencedError(stands)

    def _dead(self, letter: DeadLetter) -> tuple[Any, ...]:
        message = letter.message
        header = None if message.schema_id is None else message.schema_id.encode("utf-8", "surrogateescape")
        return (*self._own, message.partition, message.offset, header, letter.reason, message.value)

    @property
    def _own(self) -> tuple[str, str, str]:
        return self.consumer, self.topic.name, self._log_id

    @cached_property
    def _names(self) -> list[str]:
        return names_of(self.topic)

    @property
    def _staging(self) -> sql.Composed:
        return sql.SQL(
            "CREATE TEMPORARY TABLE incoming (LIKE {table}, sequence integer NOT NULL) ON COMMIT DELETE ROWS"
        ).format(table=sql.Identifier(self.topic.table))

    @property
    def _copy_in(self) -> sql.Composed:
        return sql.SQL("COPY incoming ({names}, sequence) FROM STDIN").format(names=_list(self._names))

    @property
    def _upsert(self) -> sql.Composed:
        """Among a batch's records of one natural key the newest counts; it replaces an older one of the table."""
        others = [name for name in self._names if name not in self.topic.natural_key]
        return sql.SQL(
            "INSERT INTO {table} ({names}) SELECT DISTINCT ON ({key}) {names} FROM incoming"
            " ORDER BY {key}, event_time DESC, sequence DESC"
            " ON CONFLICT ({key}) DO UPDATE SET ({others}) = ({excluded})"
            " WHERE EXCLUDED.event_time >= {table}.event_time"
        ).format(
            table=sql.Identifier(self.topic.table),
            names=_list(self._names),
            key=_list(self.topic.natural_key),
            others=_list(others),
            excluded=sql.SQL(", ").join(sql.SQL("EXCLUDED.") + sql.Identifier(name) for name in others),
        )


def _list(names: Sequence[str]) -> sql.Composed:
    return sql.SQL(", ").join(map(sql.Identifier, names))


def _milliseconds(seconds: float) -> str:
    """A time limit as PostgreSQL takes it: at least one millisecond (0 is none), at most what it can count."""
    return f"{min(max(int(seconds * 1000), 1), LONGEST_LIMIT)}ms"
