"""A day's rows for Great Expectations: already judged by the rules and the engine that sort them.

It has dialects of its own (`re` for patterns, floats for integers beside an empty cell), so it does not judge: it gets
the values that break each rule, and counts, tolerates, reports and draws them.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date

import numpy as np
import pandas as pd
import pyarrow as pa

from include.excerpt import excerpt, printable
from include.quality.breaches import among, broken, is_empty, of_another_day, python_values
from include.quality.contract import Column, Contract
from include.quality.data_day import DataDay
from include.quality.findings import Check
from include.quality.reading import Mask

VALUE_LENGTH = 60
EMPTY = "empty"
"""Stands for a missing value."""


@dataclass(frozen=True)
class RowCheck:
    """A rule for each row of a partition; `expected` says it in words."""

    check: Check
    column: str
    expected: str

    @property
    def name(self) -> str:
        """The column of the judged frame with the values that break it."""
        return f"{self.column}: {self.check}"


def row_checks(contract: Contract, day: date) -> Iterator[RowCheck]:
    """The row rules of a contract, column by column, for the partition of a day."""
    for column in contract.columns:
        yield from _of_column(column)
        if column is contract.day_column:
            yield RowCheck(Check.DAY, column.name, f"of {day}, its partition's day")


def _of_column(column: Column) -> Iterator[RowCheck]:
    if column.required:
        yield RowCheck(Check.REQUIRED, column.name, "never empty")
    if column.minimum is not None or column.maximum is not None:
        yield RowCheck(Check.RANGE, column.name, _span(column))
    if column.one_of:
        yield RowCheck(Check.ONE_OF, column.name, f"one of {among(column)}")
    if column.pattern is not None:
        yield RowCheck(Check.PATTERN, column.name, f"matches {printable(column.pattern)}")


def _span(column: Column) -> str:
    low, high = (None if bound is None else column.kind.written(bound) for bound in (column.minimum, column.maximum))
    if low is None or high is None:
        return f"at least {low}" if high is None else f"at most {high}"
    return f"from {low} to {high}"


def judged(contract: Contract, table: pa.Table, day: DataDay) -> pd.DataFrame:
    """The columns that are looked at as a whole, and for each row rule the values that break it, null elsewhere."""
    checks = list(row_checks(contract, day.day))
    found: dict[str, Mask] = {check.name: np.zeros(table.num_rows, dtype=bool) for check in checks}
    for column in contract.columns:
        values = table[column.name].combine_chunks()
        away = of_another_day(column, values, day) if column is contract.day_column else ()
        for breach in (*broken(column, values), *away):
            found[f"{column.name}: {breach.rule}"] |= breach.rows
    whole = [*contract.key, *([contract.freshness.column] if contract.freshness else [])]
    shown = {check.name: breaking(table[check.column], found[check.name]) for check in checks}
    empty = {nulls_column(name): breaking(table[name], _mask(is_empty(table[name]))) for name in contract.max_nulls}
    frame: pd.DataFrame = table.select(list(dict.fromkeys(whole))).to_pandas()
    return frame.assign(**shown, **empty)


def nulls_column(name: str) -> str:
    """The column of the judged frame that says where a column has no value."""
    return f"{name}: {Check.NULLS}"


def breaking(values: pa.ChunkedArray, rows: Mask) -> pd.Series:
    """The values of some rows as short, printable texts, null elsewhere."""
    shown = np.full(len(rows), None, dtype=object)
    shown[rows] = [
        EMPTY if value is None or value == "" else excerpt(value, VALUE_LENGTH)
        for value in python_values(values.filter(pa.array(rows)))
    ]
    return pd.Series(shown)


def _mask(values: pa.Array) -> Mask:
    return np.asarray(values.to_numpy(), dtype=bool)
