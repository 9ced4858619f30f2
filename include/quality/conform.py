"""Bringing a source's records to their contract: types, then row rules; what breaks one is set apart, not lost."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from enum import StrEnum

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from include.errors import DataError
from include.quality.contract import Column, Contract, Kind

EXAMPLES = 3
EXAMPLE_LENGTH = 40


class Rule(StrEnum):
    """The row rules, in the order in which they are applied; a row goes to quarantine under the first it breaks."""

    TYPE = "type"
    REQUIRED = "required"
    RANGE = "range"
    ONE_OF = "one_of"
    PATTERN = "pattern"
    UNIQUE = "unique"


@dataclass(frozen=True)
class Breach:
    """One rule of one column, the rows that break it (a mask over the records) and why, in words."""

    rule: Rule
    column: str
    rows: np.ndarray[tuple[int], np.dtype[np.bool_]]
    reason: str


@dataclass(frozen=True)
class Conformed:
    """A day's records, sorted into good and bad.

    `good` has the contract's schema and order. `bad` holds the other rows, every value as text as the source gave it,
    and for each its `rule` and `reason`. Together they have as many rows as the source's records.
    """

    good: pa.Table
    bad: pa.Table
    breaches: tuple[Breach, ...]

    @property
    def worst(self) -> Breach:
        """The breach with most rows."""
        return max(self.breaches, key=lambda breach: int(breach.rows.sum()))


def conform(records: pa.Table, contract: Contract, where: str) -> Conformed:
    """Records as the contract wants them, and those that cannot be; `where` names the data in errors.

    Raises `DataError` for a column that is missing (renamed), before any row is looked at.
    """
    _require_columns(records, contract, where)
    values: dict[str, pa.Array] = {}
    breaches: list[Breach] = []
    for column in contract.columns:
        given = _one_chunk(records[column.name])
        values[column.name], mistyped = _as_kind(given, column.kind)
        if mistyped.any():
            reason = f"{column.name} is not {_ARTICLE[column.kind]} {column.kind}"
            breaches.append(Breach(Rule.TYPE, column.name, mistyped, reason))
        breaches += broken(column, values[column.name], mistyped)
    breaches += _repeated(values, contract.key, _any(breaches, records.num_rows))
    bad = _any(breaches, records.num_rows)
    fitting = pa.table({name: array.filter(pa.array(~bad)) for name, array in values.items()}).cast(contract.schema)
    good = fitting.sort_by([(name, "ascending") for name in contract.order])
    quarantined = _quarantine(records, bad, breaches)
    if good.num_rows + quarantined.num_rows != records.num_rows:
        raise DataError(f"{where}: {records.num_rows} rows came, {good.num_rows} + {quarantined.num_rows} are kept")
    return Conformed(good, quarantined, tuple(breaches))


def describe(breach: Breach, records: pa.Table) -> str:
    """A breach in one phrase: rule, column, how many rows, examples."""
    return (
        f"rule {breach.rule}, column {breach.column}: {int(breach.rows.sum())} of {records.num_rows} rows "
        f"({breach.reason}), such as {', '.join(examples(breach, records))}"
    )


def examples(breach: Breach, records: pa.Table) -> tuple[str, ...]:
    """A few different values that break a rule, as the records have them."""
    column = breach.column.split(", ", maxsplit=1)[0]
    values = records[column].filter(pa.array(breach.rows)).slice(0, 200).to_pylist()
    return tuple(dict.fromkeys(_shown(value) for value in values))[:EXAMPLES]


def _shown(value: object) -> str:
    text = repr(value) if isinstance(value, str) else str(value)
    return text if len(text) <= EXAMPLE_LENGTH else f"{text[:EXAMPLE_LENGTH]}…"


def _require_columns(records: pa.Table, contract: Contract, where: str) -> None:
    missing = [name for name in contract.names if name not in records.column_names]
    if not missing:
        return
    others = [name for name in records.column_names if name not in contract.names]
    hint = f"; it has {', '.join(others)} instead: renamed?" if others else ""
    raise DataError(
        f"{where}: rule column_present, column {missing[0]}: not in the source, so all {records.num_rows} rows lack it"
        f"{hint} (missing in all: {', '.join(missing)}); give it under its name, or change the contract"
    )


# Types

_ARTICLE = {
    Kind.TEXT: "a",
    Kind.INTEGER: "an",
    Kind.NUMBER: "a",
    Kind.FLAG: "a",
    Kind.DATE: "a",
    Kind.INSTANT: "an",
}
_TRUE, _FALSE = ("true", "1", "t", "yes"), ("false", "0", "f", "no")

Mask = np.ndarray[tuple[int], np.dtype[np.bool_]]


def _one_chunk(column: pa.ChunkedArray) -> pa.Array:
    if pa.types.is_dictionary(column.type):
        column = column.cast(column.type.value_type)
    return column.combine_chunks() if column.num_chunks != 1 else column.chunk(0)


def _as_kind(given: pa.Array, kind: Kind) -> tuple[pa.Array, Mask]:
    """The values as a kind's Arrow type, and which of them cannot be (null there)."""
    if pa.types.is_null(given.type):
        return pa.nulls(len(given), kind.arrow), np.zeros(len(given), dtype=bool)
    if given.type == kind.arrow and kind is not Kind.NUMBER:
        return given, np.zeros(len(given), dtype=bool)
    if pa.types.is_floating(given.type):
        given = pc.if_else(pc.is_nan(given), pa.scalar(None, given.type), given)
    wanted = _PARSERS[kind](given)
    lost = pc.and_(pc.is_valid(given), pc.is_null(wanted))
    return wanted, lost.to_numpy(zero_copy_only=False)


def _nothing(given: pa.Array, kind: Kind) -> pa.Array:
    return pa.nulls(len(given), kind.arrow)


def _only(given: pa.Array, fits: pa.Array, wanted: pa.DataType) -> pa.Array:
    return pc.if_else(fits, given, pa.scalar(None, given.type)).cast(wanted)


def _text(given: pa.Array) -> pa.Array:
    if pa.types.is_large_string(given.type) or pa.types.is_string_view(given.type):
        return given.cast(pa.string())
    return given if pa.types.is_string(given.type) else _nothing(given, Kind.TEXT)


def _integer(given: pa.Array) -> pa.Array:
    if pa.types.is_integer(given.type):
        return (
            _only(given, pc.less_equal(given, 2**63 - 1), pa.int64())
            if given.type == pa.uint64()
            else given.cast(pa.int64())
        )
    if pa.types.is_floating(given.type):
        whole = pc.and_(pc.equal(pc.floor(given), given), pc.less(pc.abs(given), 2.0**53))
        return _only(given, whole, pa.int64())
    if _is_text(given):
        return _only(pc.utf8_trim_whitespace(given), pc.match_substring_regex(given, r"^\s*-?\d{1,18}\s*$"), pa.int64())
    return _nothing(given, Kind.INTEGER)


def _number(given: pa.Array) -> pa.Array:
    if pa.types.is_integer(given.type) or pa.types.is_floating(given.type) or pa.types.is_decimal(given.type):
        numbers = given.cast(pa.float64(), safe=False)
    elif _is_text(given):
        number = r"^\s*[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d{1,3})?\s*$"
        bare = pc.replace_substring_regex(pc.utf8_trim_whitespace(given), r"^\+", "")
        numbers = _only(bare, pc.match_substring_regex(given, number), pa.float64())
    else:
        return _nothing(given, Kind.NUMBER)
    return _only(numbers, pc.is_finite(numbers), pa.float64())


def _flag(given: pa.Array) -> pa.Array:
    if pa.types.is_integer(given.type):
        given = given.cast(pa.string())
    if not _is_text(given):
        return _nothing(given, Kind.FLAG)
    word = pc.utf8_lower(pc.utf8_trim_whitespace(given))
    true = pc.is_in(word, pa.array(_TRUE))
    return pc.if_else(pc.or_(true, pc.is_in(word, pa.array(_FALSE))), true, pa.scalar(None, pa.bool_()))


def _date(given: pa.Array) -> pa.Array:
    if pa.types.is_timestamp(given.type) and given.type.tz is None:
        return given.cast(pa.date32(), safe=False)
    if pa.types.is_date(given.type):
        return given.cast(pa.date32())
    if not _is_text(given):
        return _nothing(given, Kind.DATE)
    parsed = pd.to_datetime(given.to_pandas(), format="%Y-%m-%d", errors="coerce")
    return pa.array(parsed.dt.date, pa.date32(), from_pandas=True)


def _instant(given: pa.Array) -> pa.Array:
    # Without a zone an instant is not known, so such values are of another type.
    if pa.types.is_timestamp(given.type) and given.type.tz is not None:
        return given.cast(Kind.INSTANT.arrow, safe=False)
    if not _is_text(given):
        return _nothing(given, Kind.INSTANT)
    zoned = pc.match_substring_regex(given, r"^\s*\d{4}-\d{2}-\d{2}[T ]\d{2}:.*(Z|[+-]\d{2}:?\d{2})\s*$")
    text = pc.if_else(zoned, pc.utf8_trim_whitespace(given), pa.scalar(None, given.type)).to_pandas()
    return pa.array(pd.to_datetime(text, utc=True, format="ISO8601", errors="coerce"), Kind.INSTANT.arrow)


def _is_text(given: pa.Array) -> bool:
    return bool(pa.types.is_string(given.type) or pa.types.is_large_string(given.type))


_PARSERS: dict[Kind, Callable[[pa.Array], pa.Array]] = {
    Kind.TEXT: _text,
    Kind.INTEGER: _integer,
    Kind.NUMBER: _number,
    Kind.FLAG: _flag,
    Kind.DATE: _date,
    Kind.INSTANT: _instant,
}


# Row rules


def broken(column: Column, values: pa.Array, mistyped: Mask | None = None) -> Iterator[Breach]:
    """The breaches of a column's own rules, of values of its type; a mistyped one breaks none of them again."""
    checks: list[tuple[Rule, pa.Array, str]] = []
    if column.required:
        checks.append((Rule.REQUIRED, pc.is_null(values), f"{column.name} is empty"))
    if column.minimum is not None:
        checks.append((Rule.RANGE, pc.less(values, column.minimum), f"{column.name} is below {column.minimum:g}"))
    if column.maximum is not None:
        checks.append((Rule.RANGE, pc.greater(values, column.maximum), f"{column.name} is above {column.maximum:g}"))
    if column.one_of:
        unknown = pc.invert(pc.is_in(values, pa.array(column.one_of, values.type)))
        among = f"{column.name} is none of {', '.join(column.one_of)}"
        checks.append((Rule.ONE_OF, pc.and_(pc.is_valid(values), unknown), among))
    if column.pattern:
        other = pc.invert(pc.match_substring_regex(values, f"^(?:{column.pattern})$"))
        checks.append((Rule.PATTERN, other, f"{column.name} does not match {column.pattern}"))
    for rule, failed, reason in checks:
        rows = pc.fill_null(failed, False).to_numpy(zero_copy_only=False)
        rows = rows if mistyped is None else rows & ~mistyped
        if rows.any():
            yield Breach(rule, column.name, rows, reason)


def _any(breaches: list[Breach], rows: int) -> Mask:
    """Which rows are in any of the breaches."""
    found = np.zeros(rows, dtype=bool)
    for breach in breaches:
        found |= breach.rows
    return found


def _repeated(values: dict[str, pa.Array], key: tuple[str, ...], bad: Mask) -> Iterator[Breach]:
    """Rows whose key an earlier good row has; the first stays."""
    keys = pa.table({name: values[name] for name in key})
    if keys.group_by(list(key)).aggregate([]).num_rows == keys.num_rows:
        return
    rows = np.zeros(len(bad), dtype=bool)
    rows[~bad] = keys.filter(pa.array(~bad)).to_pandas().duplicated().to_numpy()
    if rows.any():
        yield Breach(Rule.UNIQUE, ", ".join(key), rows, f"{', '.join(key)} was there before")


def _quarantine(records: pa.Table, bad: Mask, breaches: list[Breach]) -> pa.Table:
    """The bad rows as text, each with the first rule it breaks and the reason."""
    first = np.full(len(bad), -1)
    for number in reversed(range(len(breaches))):
        first[breaches[number].rows] = number
    chosen = [breaches[number] for number in first[bad]]
    rows = records.filter(pa.array(bad))
    columns = {name: _as_text(rows[name]) for name in rows.column_names}
    columns["rule"] = pa.array([str(breach.rule) for breach in chosen], pa.string())
    columns["reason"] = pa.array([breach.reason for breach in chosen], pa.string())
    return pa.table(columns)


def _as_text(column: pa.ChunkedArray) -> pa.Array:
    return pa.array([None if value is None else str(value) for value in column.to_pylist()], pa.string())


def counts(breaches: tuple[Breach, ...]) -> Counter[str]:
    """How many rows each `rule column` was broken by."""
    found: Counter[str] = Counter()
    for breach in breaches:
        found[f"{breach.rule} {breach.column}"] += int(breach.rows.sum())
    return found
