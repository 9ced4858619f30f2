"""Conforming a source's records to their contract: types, then row rules; bad rows are set apart, not lost."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

import pyarrow as pa

from include.errors import DataError
from include.excerpt import excerpt
from include.quality.breaches import Breach, any_of, judge, of_another_day, repeated
from include.quality.contract import Contract
from include.quality.data_day import DataDay
from include.quality.quarantine import quarantine

NAME_LENGTH = 60


@dataclass(frozen=True)
class Conformed:
    """A day's records, sorted into good and bad.

    `good` has the contract's schema and order. `bad` holds the other rows, every value as text as the source gave it,
    and for each its rule and reason (`include/quality/quarantine.py`). Together they are the source's records.
    """

    good: pa.Table
    bad: pa.Table
    breaches: tuple[Breach, ...]

    @property
    def worst(self) -> Breach:
        """The breach with most rows."""
        return max(self.breaches, key=lambda breach: int(breach.rows.sum()))


def conform(records: pa.Table, contract: Contract, where: str, day: DataDay | None = None) -> Conformed:
    """Records in the contract's form, and those that do not fit; `where` names the data in errors.

    With a `day` the records must belong to it, if the contract names a column with their day. Raises `DataError` for
    a column that is missing (renamed) or there twice, before any row is looked at.
    """
    _require_columns(records, contract, where)
    values: dict[str, pa.Array] = {}
    breaches: list[Breach] = []
    for column in contract.columns:
        values[column.name], found = judge(column, _one_chunk(records[column.name]))
        breaches += found
        if day is not None and column is contract.day_column:
            breaches += of_another_day(column, values[column.name], day)
    breaches += repeated(values, contract.key, any_of(breaches, records.num_rows))
    bad = any_of(breaches, records.num_rows)
    fitting = pa.table({name: array.filter(pa.array(~bad)) for name, array in values.items()}).cast(contract.schema)
    good = fitting.sort_by([(name, "ascending") for name in contract.order])
    quarantined = quarantine(records, bad, breaches)
    if good.num_rows + quarantined.num_rows != records.num_rows:
        raise DataError(f"{where}: {records.num_rows} rows came, {good.num_rows} + {quarantined.num_rows} are kept")
    return Conformed(good, quarantined, tuple(breaches))


def _require_columns(records: pa.Table, contract: Contract, where: str) -> None:
    times = Counter(records.column_names)
    if twice := [name for name in contract.names if times[name] > 1]:
        raise DataError(
            f"{where}: rule column_present, column {twice[0]}: {times[twice[0]]} columns have this name, and which one "
            "is meant is not known; give each column a name of its own"
        )
    missing = [name for name in contract.names if name not in times]
    if not missing:
        return
    others = [excerpt(name, NAME_LENGTH) for name in records.column_names if name not in contract.names]
    hint = f"; it has {', '.join(others)} instead: renamed?" if others else ""
    raise DataError(
        f"{where}: rule column_present, column {missing[0]}: not in the source, so all {records.num_rows} rows lack it"
        f"{hint} (missing in all: {', '.join(missing)}); give it under its name, or change the contract"
    )


def _one_chunk(column: pa.ChunkedArray) -> pa.Array:
    if pa.types.is_dictionary(column.type):
        column = column.cast(column.type.value_type)
    return column.combine_chunks() if column.num_chunks != 1 else column.chunk(0)
