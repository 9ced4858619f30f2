"""The ledger: a batch of records and the offsets that account for it, in one transaction or not at all."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date
from functools import cached_property
from typing import Any

import psycopg
import pyarrow as pa
from psycopg import sql

from include.ingestion.brokers.broker import Received
from include.ingestion.partitions import DailyPartitions
from include.ingestion.rows import NO_ROWS, Rows, names_of, newest, table_of
from include.ingestion.topics import PoisonError, Record, Topic

SESSION: dict[str, Any] = {
    "connect_timeout": 2,
    "tcp_user_timeout": 5_000,  # ms: a peer that fell silent is given up by then
    "keepalives_idle": 5,
    "keepalives_interval": 2,
    "keepalives_count": 2,
    "client_encoding": "utf8",
}
PART = 500
"""Messages that are read one by one when there is something odd among them."""

Positions = Mapping[int, int]
"""The next offset owed, by partition."""


class FencedError(Exception):
    """Another worker has moved on from where this batch begins; `positions` is where the ledger stands."""

    def __init__(self, positions: Positions) -> None:
        super().__init__(f"the ledger stands at {dict(positions)}")
        self.positions = positions


@dataclass(frozen=True)
class DeadLetter:
    """A message that cannot be stored, and why."""

    message: Received
    reason: str


@dataclass(frozen=True)
class Batch:
    """Messages as they came, from `start` on, sorted into rows and dead letters."""

    start: Positions
    messages: Sequence[Received]
    rows: Rows
    dead: Sequence[DeadLetter]
    end: Positions

    @property
    def records(self) -> int:
        """How many messages were records, those included that a newer one of the batch replaces."""
        return len(self.messages) - len(self.dead)

    @classmethod
    def of(cls, topic: Topic, messages: Sequence[Received], positions: Positions) -> Batch:
        """Check every message against its schema."""
        end = {message.partition: message.offset + 1 for message in messages}
        parts: list[pa.Table] = []
        dead: list[DeadLetter] = []
        _sort(topic, messages, parts, dead)
        start = {partition: positions.get(partition, 0) for partition in end}
        return cls(start, messages, Rows.of(topic, parts), dead, end)

    @classmethod
    def refused(cls, message: Received, positions: Positions, reason: str) -> Batch:
        """One message that the database will not have."""
        start = {message.partition: positions.get(message.partition, 0)}
        end = {message.partition: message.offset + 1}
        return cls(start, [message], NO_ROWS, [DeadLetter(message, reason)], end)


def _sort(topic: Topic, messages: Sequence[Received], parts: list[pa.Table], dead: list[DeadLetter]) -> None:
    """Read messages all at once; where that fails in parts, and only the part that is not sound one by one."""
    schema_ids = {message.schema_id for message in messages}
    records = topic.decode_all([message.value for message in messages], schema_ids)
    if records is not None:
        parts.append(newest(topic, records))
    elif len(messages) > PART:
        for first in range(0, len(messages), PART):
            _sort(topic, messages[first : first + PART], parts, dead)
    else:
        _sort_singly(topic, messages, parts, dead)


def _sort_singly(topic: Topic, messages: Sequence[Received], parts: list[pa.Table], dead: list[DeadLetter]) -> None:
    records: list[Record] = []
    for message in messages:
        try:
            records.append(topic.decode(message.value, message.schema_id))
        except PoisonError as error:
            dead.append(DeadLetter(message, str(error)))
    parts.append(table_of(topic, records))


@dataclass
class Ledger:
    """One consumer's way into its table. Holds one connection of its own, opened when needed."""

    url: str
    consumer: str
    topic: Topic
    _connection: psycopg.Connection[tuple[Any, ...]] | None = field(default=None, repr=False)
    _partitions: DailyPartitions = field(init=False, repr=False)

    def __post_init__(self) -> None:
        self._partitions = DailyPartitions(self.topic.table)

    def positions(self) -> dict[int, int]:
        """Where every partition stands."""
        rows = self._open().execute(
            "SELECT partition, next_offset FROM consumer_offsets WHERE consumer = %s AND topic = %s",
            [self.consumer, self.topic.name],
        )
        return {int(partition): int(offset) for partition, offset in rows.fetchall()}

    def write(self, batch: Batch, seconds: float) -> None:
        """Store a batch's records, dead letters and offsets, all or nothing, within so many seconds.

        Raises `FencedError` when the ledger does not stand where the batch begins, and psycopg's errors.
        """
        connection = self._open()
        self._partitions.ensure(connection, batch.rows.days)
        try:
            self._write(connection, batch, seconds)
        except psycopg.errors.CheckViolation as error:  # no such partition: it was dropped just now
            self._partitions.forget()
            raise psycopg.OperationalError(str(error)) from error

    def _write(self, connection: psycopg.Connection[tuple[Any, ...]], batch: Batch, seconds: float) -> None:
        with connection.transaction(), connection.cursor() as cursor:
            cursor.execute("SELECT set_config('statement_timeout', %s, true)", [f"{max(int(seconds * 1000), 1)}ms"])
            self._fence(cursor, batch)
            if batch.rows.count:
                with cursor.copy(self._copy_in) as copy:
                    copy.write(batch.rows.text)
                cursor.execute(self._upsert)
            cursor.executemany(
                "INSERT INTO dead_letters (consumer, topic, partition, topic_offset, schema_id, reason, value)"
                " VALUES (%s, %s, %s, %s, %s, %s, %s)",
                [self._dead(letter) for letter in batch.dead],
            )
            cursor.executemany(
                "UPDATE consumer_offsets SET next_offset = %s, updated_at = now()"
                " WHERE consumer = %s AND topic = %s AND partition = %s",
                [(end, self.consumer, self.topic.name, partition) for partition, end in sorted(batch.end.items())],
            )

    def expire(self, before: date) -> list[date]:
        """Drop the table's daily partitions that are older than a day; answers which."""
        return self._partitions.drop(self._open(), before)

    def close(self) -> None:
        """Let the connection go, whatever state it is in."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def _open(self) -> psycopg.Connection[tuple[Any, ...]]:
        if self._connection is None or self._connection.closed:
            self._connection = psycopg.connect(
                self.url, autocommit=True, application_name=f"nightshift {self.consumer}", **SESSION
            )
            self._connection.execute(self._staging)
        return self._connection

    def _fence(self, cursor: psycopg.Cursor[tuple[Any, ...]], batch: Batch) -> None:
        """Lock the batch's offsets for this transaction, and make sure that nobody has moved them."""
        own = [(self.consumer, self.topic.name, partition) for partition in sorted(batch.start)]
        cursor.executemany(
            "INSERT INTO consumer_offsets (consumer, topic, partition, next_offset) VALUES (%s, %s, %s, 0)"
            " ON CONFLICT DO NOTHING",
            own,
        )
        cursor.execute(
            "SELECT partition, next_offset FROM consumer_offsets WHERE consumer = %s AND topic = %s"
            " AND partition = ANY(%s) ORDER BY partition FOR UPDATE",
            [self.consumer, self.topic.name, sorted(batch.start)],
        )
        stands = {int(partition): int(offset) for partition, offset in cursor.fetchall()}
        if stands != dict(batch.start):
            raise FencedError(stands)

    def _dead(self, letter: DeadLetter) -> tuple[Any, ...]:
        message = letter.message
        return (
            self.consumer,
            self.topic.name,
            message.partition,
            message.offset,
            message.schema_id,
            letter.reason.replace("\x00", "␀"),
            message.value,
        )

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
        """Of a batch's records with one natural key the newest counts; it replaces the table's unless that is newer."""
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
