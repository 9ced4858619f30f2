"""Daily partitions of a table: made when a day's first record comes, dropped when the day is old enough."""

from __future__ import annotations

import re
from collections.abc import Iterable
from datetime import date, timedelta
from typing import Any

import psycopg
from psycopg import sql

LOCK_MILLISECONDS = 2_000
"""How long to wait for readers of a partition before it is dropped; otherwise it is dropped another time."""

Connection = psycopg.Connection[tuple[Any, ...]]


class DailyPartitions:
    """The partitions of one table; days that were seen to exist are remembered."""

    def __init__(self, table: str) -> None:
        self.table = table
        self._known: set[date] = set()

    def ensure(self, connection: Connection, days: Iterable[date]) -> None:
        """Make the partitions that are missing, each on its own; two callers at once wait for one another.

        A partition is attached, not created in place: that leaves readers and writers of the table alone.
        """
        missing = sorted(set(days) - self._known)
        if not missing:
            return
        there = set(self.days(connection))
        for day in missing:
            if day not in there:
                self._make(connection, day)
        self._known |= {*missing, *there}

    def drop(self, connection: Connection, before: date) -> list[date]:
        """Drop the partitions of days before a day; one that is being read stays until another time."""
        self.forget()
        dropped = []
        for day in [day for day in self.days(connection) if day < before]:
            try:
                with connection.transaction():
                    connection.execute(f"SET LOCAL lock_timeout = {LOCK_MILLISECONDS}")
                    connection.execute(sql.SQL("DROP TABLE IF EXISTS {}").format(self._partition(day)))
            except psycopg.errors.LockNotAvailable:
                continue
            dropped.append(day)
        return dropped

    def days(self, connection: Connection) -> list[date]:
        """The days that have a partition, in order."""
        rows = connection.execute(
            "SELECT child.relname FROM pg_inherits JOIN pg_class child ON child.oid = inhrelid"
            " WHERE inhparent = to_regclass(%s)",
            [self.table],
        )
        found = (re.fullmatch(rf"{self.table}_(\d{{8}})", str(name)) for (name,) in rows.fetchall())
        return sorted(date.fromisoformat(match[1]) for match in found if match)

    def forget(self) -> None:
        """Look again next time."""
        self._known.clear()

    def _make(self, connection: Connection, day: date) -> None:
        partition, table = self._partition(day), sql.Identifier(self.table)
        first = sql.Literal(f"{day}")
        end = sql.SQL("MAXVALUE") if day == date.max else sql.Literal(f"{day + timedelta(days=1)}")
        with connection.transaction():
            connection.execute("SET LOCAL timezone = 'UTC'")  # a bound without a zone is a UTC day
            connection.execute("SELECT pg_advisory_xact_lock(hashtextextended(%s, 0))", [f"{self.table}/partitions"])
            if day in self.days(connection):
                return
            connection.execute(
                sql.SQL("CREATE TABLE {} (LIKE {} INCLUDING DEFAULTS INCLUDING CONSTRAINTS)").format(partition, table)
            )
            connection.execute(
                sql.SQL("ALTER TABLE {} ATTACH PARTITION {} FOR VALUES FROM ({}) TO ({})").format(
                    table, partition, first, end
                )
            )

    def _partition(self, day: date) -> sql.Identifier:
        return sql.Identifier(f"{self.table}_{day.isoformat().replace('-', '')}")
