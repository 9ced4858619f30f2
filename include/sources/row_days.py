"""The data day that each row of a table names."""

from __future__ import annotations

from datetime import time, timedelta
from typing import Protocol
from zoneinfo import ZoneInfo

import pandas as pd
import pyarrow as pa

from include.errors import DataError
from include.quality.kind import Kind
from include.quality.reading import read_as


class Clock(Protocol):
    """What tells the data day of an instant; a `UseCaseSpec` does."""

    @property
    def day_starts(self) -> time:
        """When a data day starts, on the zone's clocks."""

    @property
    def zone(self) -> ZoneInfo:
        """The zone whose calendar names the data days."""


def row_days(table: pa.Table, column: str, clock: Clock | None, where: str) -> pa.Array:
    """A date for each row, null where its `column` names none.

    A value names a day if a contract takes it as a date or, with a clock, as an instant. A table without columns has
    no rows. Raises `DataError` when the column is not there, or there twice.
    """
    if not table.num_columns:
        return pa.nulls(0, pa.date32())
    times = table.column_names.count(column)
    if times > 1:
        raise DataError(f"source: {where} has {times} columns {column}; give each a name of its own")
    if not times:
        raise DataError(f"source: {where} has no column {column}; it has {', '.join(table.column_names)}")
    given = table[column]
    if pa.types.is_dictionary(given.type):
        given = given.cast(given.type.value_type)
    if clock is None:
        return read_as(given.combine_chunks(), Kind.DATE)[0]
    return _days_of(read_as(given.combine_chunks(), Kind.INSTANT)[0], clock)


def _days_of(instants: pa.Array, clock: Clock) -> pa.Array:
    wall = pd.Series(instants.to_pandas()).dt.tz_convert(clock.zone).dt.tz_localize(None)
    starts = timedelta(hours=clock.day_starts.hour, minutes=clock.day_starts.minute)
    days = (wall - starts).to_numpy().astype("datetime64[D]")
    return pa.array(days, pa.date32())
