"""The data day that each row of a table names."""

from __future__ import annotations

from datetime import UTC, date

import numpy as np
import pyarrow as pa

from include.errors import DataError
from include.excerpt import excerpt
from include.quality.data_day import Calendar
from include.quality.kind import Kind
from include.quality.reading import read_as

NAMES_LENGTH = 200
FIRST, LAST = date(1, 1, 3), date(9999, 12, 28)
"""The days whose neighbours have a name in any zone."""


def row_days(table: pa.Table, column: str, calendar: Calendar | None, where: str) -> pa.Array:
    """A date for each row, null where its `column` names none.

    A value names a day if a contract accepts it as a date or, with a calendar, as an instant. A table without columns
    has no rows. Raises `DataError` when the column is not there, or there twice.
    """
    if not table.num_columns:
        return pa.nulls(0, pa.date32())
    times = table.column_names.count(column)
    if times > 1:
        raise DataError(f"source: {where} has {times} columns {column}; give each a name of its own")
    if not times:
        raise DataError(
            f"source: {where} has no column {column}; it has {excerpt(', '.join(table.column_names), NAMES_LENGTH)}"
        )
    given = table[column]
    if pa.types.is_dictionary(given.type):
        given = given.cast(given.type.value_type)
    if calendar is None:
        return read_as(given.combine_chunks(), Kind.DATE)[0]
    return _days_of(read_as(given.combine_chunks(), Kind.INSTANT)[0], calendar)


def _days_of(instants: pa.Array, calendar: Calendar) -> pa.Array:
    """The data day of each instant: the last of the days near by that has begun."""
    moments = instants.cast(pa.timestamp("us")).to_numpy(zero_copy_only=False)
    near = np.unique(moments[~np.isnat(moments)].astype("datetime64[D]"))
    near = np.unique(np.add.outer(near, np.arange(-2, 3)))
    near = near[(near >= np.datetime64(FIRST)) & (near <= np.datetime64(LAST))]
    starts = [
        np.datetime64(calendar.day_start(day).astimezone(UTC).replace(tzinfo=None), "us") for day in near.tolist()
    ]
    place = np.searchsorted(np.array(starts, "datetime64[us]"), moments, side="right") - 1
    known = ~np.isnat(moments) & (place >= 0)
    days = np.full(len(moments), np.datetime64("NaT"), "datetime64[D]")
    days[known] = near[place[known]]
    return pa.array(days, pa.date32())
