"""The tables as the source of a data day, read as one consistent snapshot."""

from __future__ import annotations

from datetime import UTC, date, datetime, time, timedelta
from threading import Lock
from typing import Any

import psycopg
import pyarrow as pa
from psycopg import sql

from include.database.address import libpq_url
from include.errors import DataError, FaultError, StepError
from include.ingestion.ledger import SESSION
from include.quality.contract import Contract
from include.settings import Settings
from include.use_cases.flight_delay.contracts import RAW
from include.use_cases.flight_delay.spec import SPEC

TABLES = {"schedule": "flights", "flights": "flights", "weather": "weather_observations"}


def open_tables(settings: Settings) -> TablesSource:
    """The tables of NIGHTSHIFT_DATABASE_URL as they are now; `FaultError` when they cannot be read."""
    return TablesSource(libpq_url(settings.require("database_url")))


class TablesSource:
    """Everything is read in one REPEATABLE READ transaction: whatever workers write meanwhile is not seen.

    A data day's flights are those of its date; its weather, the hours between its start and its end. The last day is
    the newest of which the next day's schedule is there too. `read` may be called from several threads.
    """

    configured = "records tables"

    def __init__(self, url: str) -> None:
        self._lock = Lock()
        try:
            self._connection = psycopg.connect(url, application_name="nightshift extract", **SESSION)
            self._connection.isolation_level = psycopg.IsolationLevel.REPEATABLE_READ
            self._connection.read_only = True
            first, last = self._span()
        except psycopg.Error as error:
            raise _fault(error) from error
        if first is None or last is None:
            raise DataError("source: table flights is empty; let the collectors and workers run, or read the files")
        self.first_day: date = first
        self.last_day: date = last - timedelta(days=1)
        self.later_days = "let the collectors and workers bring it"

    def read(self, topic: str, day: date) -> pa.Table:
        """The rows of a topic's data day, with its contract's columns."""
        contract = RAW[topic]
        where, bounds = _where(topic, day)
        query = sql.SQL("SELECT {columns} FROM {table} WHERE {where} ORDER BY {order}").format(
            columns=_names(contract.names),
            table=sql.Identifier(TABLES[topic]),
            where=where,
            order=_names(contract.order),
        )
        try:
            with self._lock:
                rows = self._connection.execute(query, bounds).fetchall()
        except psycopg.Error as error:
            raise _fault(error) from error
        return _table(contract, rows)

    def close(self) -> None:
        """End the snapshot."""
        self._connection.close()

    def _span(self) -> tuple[date | None, date | None]:
        row = self._connection.execute("SELECT min(date), max(date) FROM flights").fetchone()
        return row or (None, None)


def _where(topic: str, day: date) -> tuple[sql.SQL, list[Any]]:
    if topic == "weather":
        begins, ends = (
            datetime.combine(each, time(SPEC.day_starts.hour), SPEC.zone).astimezone(UTC)
            for each in (day, day + timedelta(days=1))
        )
        return sql.SQL("observed_at >= %s AND observed_at < %s"), [begins, ends]
    return sql.SQL("date = %s"), [day]


def _table(contract: Contract, rows: list[tuple[Any, ...]]) -> pa.Table:
    columns = list(zip(*rows, strict=True)) or [()] * len(contract.columns)
    arrays = [pa.array(values, field.type) for values, field in zip(columns, contract.schema, strict=True)]
    return pa.table(arrays, schema=contract.schema)


def _names(names: Any) -> sql.Composed:
    return sql.SQL(", ").join(map(sql.Identifier, names))


def _fault(error: psycopg.Error) -> StepError:
    lines = str(error).strip().splitlines()
    said = f"source: the tables cannot be read: {lines[0] if lines else type(error).__name__}"
    if isinstance(error, psycopg.DataError):
        return DataError(f"{said}; correct the rows")
    if isinstance(error, psycopg.errors.UndefinedTable | psycopg.errors.UndefinedColumn):
        return FaultError(f"{said}; bring them up to date: python -m include.database.migrate upgrade")
    if isinstance(error, psycopg.OperationalError):
        return FaultError(f"{said}; is PostgreSQL up, and NIGHTSHIFT_DATABASE_URL right?")
    return FaultError(said)
