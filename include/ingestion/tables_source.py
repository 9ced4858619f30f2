"""The tables of a use case's streams as the source of a data day, read as one consistent snapshot."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date, datetime, timedelta
from threading import Lock
from typing import Any

import psycopg
import pyarrow as pa
from psycopg import sql

from include.database.address import libpq_url
from include.errors import DataError, FaultError, StepError
from include.excerpt import first_line
from include.ingestion.ledger import SESSION
from include.ingestion.streams import Stream
from include.quality.contract import Contract, Kind
from include.settings import Settings
from include.use_case import UseCaseSpec


class TablesSource:
    """Everything is read in one REPEATABLE READ transaction: whatever workers write meanwhile is not seen.

    `streams` names for each topic the stream whose table holds it. A data day's records are those whose `day` is that
    date, or an instant between the day's start and its end. The last day is the newest of which all examples that its
    run publishes are there. `read` may be called from several threads.
    """

    configured = "records tables"
    later_days = "let the collectors and workers bring it"

    def __init__(
        self, url: str, spec: UseCaseSpec, contracts: Mapping[str, Contract], streams: Mapping[str, Stream]
    ) -> None:
        self._spec = spec
        self._contracts = contracts
        self._streams = streams
        self._lock = Lock()
        try:
            self._connection = psycopg.connect(url, application_name="nightshift extract", **SESSION)
            self._connection.isolation_level = psycopg.IsolationLevel.REPEATABLE_READ
            self._connection.read_only = True
            self.first_day, self.last_day = self._span()
        except psycopg.Error as error:
            raise _fault(error) from error

    @classmethod
    def open(
        cls, settings: Settings, spec: UseCaseSpec, contracts: Mapping[str, Contract], streams: Mapping[str, Stream]
    ) -> TablesSource:
        """The tables of NIGHTSHIFT_DATABASE_URL as they are now.

        `DataError` while they are empty, `FaultError` when they cannot be read.
        """
        return cls(libpq_url(settings.require("database_url")), spec, contracts, streams)

    def read(self, topic: str, day: date) -> pa.Table:
        """The rows of a topic's data day, with its contract's columns."""
        contract = self._contracts[topic]
        stream = self._streams[topic]
        query = sql.SQL("SELECT {columns} FROM {table} WHERE {day} >= %s AND {day} < %s ORDER BY {order}").format(
            columns=_names(contract.names),
            table=sql.Identifier(stream.table),
            day=sql.Identifier(stream.day),
            order=_names(contract.order),
        )
        try:
            with self._lock:
                rows = self._connection.execute(query, self._bounds(stream, day)).fetchall()
        except psycopg.Error as error:
            raise _fault(error) from error
        return _table(contract, rows)

    def close(self) -> None:
        """End the snapshot."""
        self._connection.close()

    def _bounds(self, stream: Stream, day: date) -> list[date]:
        """Where a data day begins and ends in the column that the stream's table is cut by."""
        if stream.day_kind is Kind.DATE:
            return [day, day + timedelta(days=1)]
        return [self._spec.day_start(day), self._spec.day_end(day)]

    def _span(self) -> tuple[date, date]:
        """The first and the last data day, by the examples that are there."""
        stream = self._streams[self._spec.examples]
        there = self._connection.execute("SELECT to_regclass(%s)", [stream.table]).fetchone()
        query = sql.SQL("SELECT min({day}), max({day}) FROM {table}").format(
            day=sql.Identifier(stream.day), table=sql.Identifier(stream.table)
        )
        row = self._connection.execute(query).fetchone() if there and there[0] else None
        if row is None or row[0] is None:
            raise DataError(
                f"source: table {stream.table} is empty; let the collectors and workers run, or read the files"
            )
        first, last = (self._data_day(moment) for moment in row)
        return first, last - timedelta(days=self._spec.topic(self._spec.examples).day_offset)

    def _data_day(self, moment: date) -> date:
        if not isinstance(moment, datetime):
            return moment
        day = moment.astimezone(self._spec.zone).date()
        return day if self._spec.day_start(day) <= moment else day - timedelta(days=1)


def _table(contract: Contract, rows: list[tuple[Any, ...]]) -> pa.Table:
    columns = list(zip(*rows, strict=True)) or [()] * len(contract.columns)
    arrays = [pa.array(values, field.type) for values, field in zip(columns, contract.schema, strict=True)]
    return pa.table(arrays, schema=contract.schema)


def _names(names: Any) -> sql.Composed:
    return sql.SQL(", ").join(map(sql.Identifier, names))


def _fault(error: psycopg.Error) -> StepError:
    said = f"source: the tables cannot be read: {first_line(error)}"
    if isinstance(error, psycopg.DataError):
        return DataError(f"{said}; correct the rows")
    if isinstance(error, psycopg.errors.UndefinedTable | psycopg.errors.UndefinedColumn):
        return FaultError(f"{said}; let their workers bring them up to date")
    if isinstance(error, psycopg.OperationalError):
        return FaultError(f"{said}; is PostgreSQL up, and NIGHTSHIFT_DATABASE_URL right?")
    return FaultError(said)
