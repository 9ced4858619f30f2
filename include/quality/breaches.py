"""Row rules: which rows of a table break which rule of its contract. All readers use this module."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from include.excerpt import excerpt, printable
from include.quality.contract import Column
from include.quality.data_day import DataDay
from include.quality.kind import Kind
from include.quality.pattern import matches
from include.quality.reading import Mask, read_as

EXAMPLES = 3
EXAMPLE_LENGTH = 40
LOOKED_THROUGH = 200
"""Rows that are searched for different examples."""


class RowRule(StrEnum):
    """The row rules, in the order in which they are applied; a row goes to quarantine under the first it breaks."""

    TYPE = "type"
    REQUIRED = "required"
    RANGE = "range"
    ONE_OF = "one_of"
    PATTERN = "pattern"
    DAY = "day"
    UNIQUE = "unique"


@dataclass(frozen=True)
class Breach:
    """One rule of one column, the rows that break it (a mask over the records) and why, in words."""

    rule: RowRule
    column: str
    rows: Mask
    reason: str


def judge(column: Column, given: pa.Array) -> tuple[pa.Array, list[Breach]]:
    """A source's values as the column's kind, and the breaches of the column's rules."""
    values, mistyped = read_as(given, column.kind)
    breaches = list(broken(column, values, mistyped))
    if mistyped.any():
        article = "an" if column.kind in (Kind.INTEGER, Kind.INSTANT) else "a"
        breaches.insert(0, Breach(RowRule.TYPE, column.name, mistyped, f"{column.name} is not {article} {column.kind}"))
    return values, breaches


def broken(column: Column, values: pa.Array, mistyped: Mask | None = None) -> Iterator[Breach]:
    """The breaches of a column's own rules by values of its type; a mistyped value breaks none of them again."""
    for rule, failed, reason in _checks(column, values):
        rows = pc.fill_null(failed, False).to_numpy(zero_copy_only=False)
        rows = rows if mistyped is None else rows & ~mistyped
        if rows.any():
            yield Breach(rule, column.name, rows, f"{column.name} {reason}")


def _checks(column: Column, values: pa.Array) -> Iterator[tuple[RowRule, pa.Array, str]]:
    kind = column.kind
    if column.required:
        yield RowRule.REQUIRED, is_empty(values), "is empty"
    if column.minimum is not None:
        yield RowRule.RANGE, pc.less(values, kind.scalar(column.minimum)), f"is below {kind.written(column.minimum)}"
    if column.maximum is not None:
        yield RowRule.RANGE, pc.greater(values, kind.scalar(column.maximum)), f"is above {kind.written(column.maximum)}"
    if column.one_of:
        listed = pa.array([kind.scalar(value).as_py() for value in column.one_of], kind.arrow)
        given = pc.add(values, 0.0) if kind is Kind.NUMBER else values  # -0.0 is 0.0
        unknown = pc.and_(pc.is_valid(values), pc.invert(pc.is_in(given, listed)))
        yield RowRule.ONE_OF, unknown, f"is none of {among(column)}"
    if column.pattern is not None:
        yield RowRule.PATTERN, pc.invert(matches(values, column.pattern)), f"does not match {printable(column.pattern)}"


def among(column: Column) -> str:
    """The values that a column may have, in words."""
    return ", ".join(printable(column.kind.written(value)) for value in column.one_of)


def is_empty(values: pa.Array | pa.ChunkedArray) -> pa.Array | pa.ChunkedArray:
    """Whether each value counts as empty: null, an empty text, NaN."""
    if pa.types.is_string(values.type):
        return pc.fill_null(pc.equal(values, ""), True)
    return pc.is_null(values, nan_is_null=True)


def of_another_day(column: Column, values: pa.Array, day: DataDay) -> Iterator[Breach]:
    """Rows whose date is not the data day, or whose instant is outside of it."""
    if column.kind is Kind.DATE:
        away = pc.not_equal(values, column.kind.scalar(day.day))
    else:
        early = pc.less(values, column.kind.scalar(day.begins))
        away = pc.or_(early, pc.greater_equal(values, column.kind.scalar(day.ends)))
    rows = pc.fill_null(away, False).to_numpy(zero_copy_only=False)
    if rows.any():
        yield Breach(RowRule.DAY, column.name, rows, f"{column.name} is not of {day.day}, its partition's day")


def repeated(values: Mapping[str, pa.Array], key: tuple[str, ...], bad: Mask) -> Iterator[Breach]:
    """Rows whose key an earlier good row has; the first stays."""
    keys = pa.table({name: values[name] for name in key})
    if keys.group_by(list(key)).aggregate([]).num_rows == keys.num_rows:
        return
    rows = np.zeros(len(bad), dtype=bool)
    rows[~bad] = keys.filter(pa.array(~bad)).to_pandas().duplicated().to_numpy()
    if rows.any():
        yield Breach(RowRule.UNIQUE, ", ".join(key), rows, f"{', '.join(key)} was there before")


def any_of(breaches: Iterable[Breach], rows: int) -> Mask:
    """Which of this many rows are in any of the breaches."""
    found = np.zeros(rows, dtype=bool)
    for breach in breaches:
        found |= breach.rows
    return found


def describe(breach: Breach, records: pa.Table) -> str:
    """A breach in one phrase: rule, column, how many rows, examples."""
    return (
        f"rule {breach.rule}, column {breach.column}: {int(breach.rows.sum())} of {records.num_rows} rows "
        f"({breach.reason}), such as {', '.join(examples(breach, records))}"
    )


def examples(breach: Breach, records: pa.Table) -> tuple[str, ...]:
    """A few different values that break a rule, as the records have them, each printable and short."""
    column = records[breach.column.split(", ", maxsplit=1)[0]]
    values = python_values(column.filter(pa.array(breach.rows)).slice(0, LOOKED_THROUGH))
    return tuple(dict.fromkeys(_shown(value) for value in values))[:EXAMPLES]


def _shown(value: object) -> str:
    return excerpt(repr(value[: EXAMPLE_LENGTH + 1]) if isinstance(value, str) else value, EXAMPLE_LENGTH)


def counts(breaches: tuple[Breach, ...]) -> Counter[str]:
    """How many rows each `rule column` was broken by."""
    found: Counter[str] = Counter()
    for breach in breaches:
        found[f"{breach.rule} {breach.column}"] += int(breach.rows.sum())
    return found


def python_values(column: pa.ChunkedArray) -> list[Any]:
    """The values as Python's own; those that Python lacks (a year 10000, bytes that are not UTF-8) as text."""
    try:
        return list(column.to_pylist())
    except (ValueError, OverflowError):
        return [_python_value(value) for value in column]


def _python_value(value: pa.Scalar) -> Any:
    try:
        return value.as_py()
    except UnicodeDecodeError:
        return value.as_buffer().to_pybytes().decode("utf-8", "backslashreplace")
    except (ValueError, OverflowError):
        return str(pa.array([value]).cast(pa.string())[0])
