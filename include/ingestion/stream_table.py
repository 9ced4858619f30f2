"""A stream's table: made from the columns that the stream declares, and held to them where it is there."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Any

import psycopg
from psycopg import sql

from include.errors import SettingsError
from include.excerpt import first_line
from include.ingestion.streams import EVENT_TIME_COLUMN, Stream
from include.quality.contract import Column, Kind

TYPES: Mapping[Kind, tuple[str, ...]] = {
    Kind.TEXT: ("text", "character varying"),
    Kind.INTEGER: ("bigint",),
    Kind.NUMBER: ("double precision",),
    Kind.FLAG: ("boolean",),
    Kind.DATE: ("date",),
    Kind.INSTANT: ("timestamp with time zone",),
}
"""PostgreSQL's types for a column: the first is made, each of them holds it."""
OWNED = "rows of use case "
"""How the comment of a table begins that a worker has marked as its use case's."""
LOCK_MILLISECONDS = 2_000
"""How long a new column waits for the table's readers; the batch is tried again after that."""

Connection = psycopg.Connection[tuple[Any, ...]]


@dataclass(frozen=True)
class StreamTable:
    """The table of one stream: one row for each natural key, cut into daily partitions by the stream's `day`.

    `owner` is the use case whose rows it holds. The table's comment says so; without an owner nobody is asked.
    """

    stream: Stream
    owner: str = ""

    @property
    def columns(self) -> tuple[Column, ...]:
        """What a row holds: the stream's columns, and when its content became known."""
        return (*self.stream.columns, EVENT_TIME_COLUMN)

    def prepare(self, connection: Connection) -> None:
        """Make the table, or the columns that a newer version of the stream added; two callers at once wait.

        `SettingsError` when a table of that name holds something else, or another use case's rows, or the role may not
        make it.
        """
        if self._missing(connection):
            self._make(connection)
        if self.owner and not self._is_own(connection):
            self._mark(connection)

    def _make(self, connection: Connection) -> None:
        try:
            with self._alone(connection):
                missing = self._missing(connection)
                if len(missing) == len(self.columns):
                    connection.execute(self._create)
                elif missing:
                    connection.execute(self._add(missing))
        except psycopg.errors.InsufficientPrivilege as error:
            raise SettingsError(
                f"table {self._name}: {first_line(error)}; "
                "let the role of NIGHTSHIFT_DATABASE_URL make tables in its schema"
            ) from error

    @contextmanager
    def _alone(self, connection: Connection) -> Iterator[None]:
        """One transaction at a time that changes the table."""
        with connection.transaction():
            connection.execute(f"SET LOCAL lock_timeout = {LOCK_MILLISECONDS}")
            connection.execute("SELECT pg_advisory_xact_lock(hashtextextended(%s, 0))", [f"{self._name}/table"])
            yield

    def _is_own(self, connection: Connection) -> bool:
        """Whether the table's comment names its owner; `SettingsError` for another use case."""
        row = connection.execute("SELECT obj_description(to_regclass(%s), 'pg_class')", [self._name]).fetchone()
        comment = str((row and row[0]) or "")
        if comment.startswith(OWNED) and comment != f"{OWNED}{self.owner}":
            raise SettingsError(
                f"table {self._name}: {comment}, so {self.owner} must not write to it; name another table in streams.py"
            )
        return bool(comment)  # one that a person wrote stays

    def _mark(self, connection: Connection) -> None:
        """Write the owner on the table; a role that does not own it cannot, and goes on without."""
        comment = sql.SQL("COMMENT ON TABLE {} IS {}").format(sql.Identifier(self._name), f"{OWNED}{self.owner}")
        with suppress(psycopg.errors.InsufficientPrivilege), self._alone(connection):
            if not self._is_own(connection):
                connection.execute(comment)

    @property
    def _name(self) -> str:
        return self.stream.table

    def _missing(self, connection: Connection) -> list[Column]:
        """The columns that the table lacks: all of them where there is no table."""
        there = {name: (kind, required) for name, kind, required in _columns(connection, self._name)}
        if fault := next(self._faults(connection, there), None):
            raise SettingsError(f"table {self._name}: {fault}; name another table in streams.py, or rename this one")
        return [column for column in self.columns if column.name not in there]

    def _faults(self, connection: Connection, there: Mapping[str, tuple[str, bool]]) -> Iterator[str]:
        """Why the table that is there cannot hold the stream's rows."""
        if not there:
            return
        for column in self.columns:
            kind, required = there.get(column.name, ("", False))
            if kind and kind not in TYPES[column.kind]:
                yield f"column {column.name} is {kind}, and topic {self.stream.name} declares {column.kind.value}"
            if required and not column.required:
                yield f"column {column.name} takes no null, and topic {self.stream.name} may leave it empty"
            if not kind and column.required:
                yield f"column {column.name} of topic {self.stream.name} is not there"
        known = {column.name for column in self.columns}
        yield from (
            f"topic {self.stream.name} has no column {name}, which takes no null"
            for name, (_, required) in there.items()
            if required and name not in known
        )
        if _keys(connection, self._name) != (set(self.stream.natural_key), {self.stream.day}):
            yield f"it is not cut by {self.stream.day}, or its key is not {', '.join(self.stream.natural_key)}"

    @property
    def _create(self) -> sql.Composed:
        return sql.SQL("CREATE TABLE {} ({}, PRIMARY KEY ({})) PARTITION BY RANGE ({})").format(
            sql.Identifier(self._name),
            sql.SQL(", ").join(map(_declared, self.columns)),
            sql.SQL(", ").join(map(sql.Identifier, self.stream.natural_key)),
            sql.Identifier(self.stream.day),
        )

    def _add(self, missing: list[Column]) -> sql.Composed:
        added = sql.SQL(", ").join(sql.SQL("ADD COLUMN ") + _declared(column) for column in missing)
        return sql.SQL("ALTER TABLE {} {}").format(sql.Identifier(self._name), added)


def _declared(column: Column) -> sql.Composed:
    kind = TYPES[column.kind][0] + (" NOT NULL" if column.required else "")
    return sql.SQL("{} {}").format(sql.Identifier(column.name), sql.SQL(kind))


def _columns(connection: Connection, table: str) -> list[tuple[Any, ...]]:
    """Name, type, and whether a value must be given, of a table's columns; none where there is no table."""
    return connection.execute(
        "SELECT attname, format_type(atttypid, atttypmod), attnotnull AND NOT atthasdef FROM pg_attribute"
        " WHERE attrelid = to_regclass(%s) AND attnum > 0 AND NOT attisdropped",
        [table],
    ).fetchall()


def _keys(connection: Connection, table: str) -> tuple[set[str], set[str]]:
    """The columns of a table's primary key, and those that it is cut by."""
    rows = connection.execute(
        "SELECT attname, coalesce(attnum = ANY(indkey), false), coalesce(attnum = ANY(partattrs), false)"
        " FROM pg_attribute LEFT JOIN pg_index ON indrelid = attrelid AND indisprimary"
        " LEFT JOIN pg_partitioned_table ON partrelid = attrelid WHERE attrelid = to_regclass(%s) AND attnum > 0",
        [table],
    ).fetchall()
    return {str(name) for name, key, _ in rows if key}, {str(name) for name, _, cut in rows if cut}
