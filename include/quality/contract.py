"""What a record of a topic, or a feature row, must look like: columns, types and row rules, as data."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta

import pyarrow as pa

from include.errors import DataError
from include.quality import soundness
from include.quality.kind import Kind

__all__ = ["Column", "Contract", "Freshness", "Kind", "Reference", "check_references"]

DAY_COLUMN = "date"
"""A date column of this name holds the data day, unless the contract says otherwise."""

Value = str | int | float | bool | date | datetime
"""A value as a contract writes it: dates and instants are Python's own, an instant has a zone."""
Bound = float | date | datetime


@dataclass(frozen=True)
class Column:
    """One column and the row rules that its values must keep.

    `minimum` and `maximum` are inclusive, in the column's unit (a date's is a date, an instant's a datetime with a
    zone); `one_of` lists all values allowed; `pattern` is a regular expression of RE2 that the whole text must match.
    A row that breaks a rule goes to quarantine. Raises `DataError` for rules that do not fit the kind.
    """

    name: str
    kind: Kind
    required: bool = True
    minimum: Bound | None = None
    maximum: Bound | None = None
    one_of: tuple[Value, ...] = ()
    pattern: str | None = None
    note: str = ""

    def __post_init__(self) -> None:
        if fault := soundness.of_column(self):
            raise DataError(f"column {self.name}: {fault}")

    @property
    def ruled(self) -> bool:
        """Whether any value of the column's type could break a rule."""
        bounded = self.minimum is not None or self.maximum is not None
        return bounded or self.required or bool(self.one_of) or self.pattern is not None


@dataclass(frozen=True)
class Reference:
    """Every value of `column` should appear in `other_column` of another topic's partition of the same day.

    One that does not is a warning; a run stops when less than `min_share` of the rows are found there.
    """

    column: str
    other: str
    other_column: str
    min_share: float = 0.0


@dataclass(frozen=True)
class Freshness:
    """How old the newest value of an instant column may be at the data day's end before a run warns or stops."""

    column: str
    warn_after: timedelta
    fail_after: timedelta


@dataclass(frozen=True)
class Contract:
    """A table's shape and rules.

    `key` identifies a row; `order` sorts a partition. A run stops when the source has fewer than `min_rows` records of
    a day (0: such days are normal), when more than `max_quarantined` of a day's rows break a row rule, when a column's
    share of nulls exceeds `max_nulls[column]`, or when the day has fewer rows than `min_volume` times the median of
    the trailing days; outside `volume_band` (low, high; as ratios to that median) it only warns.

    `day` names the column that says which data day a row belongs to: a date is that day, an instant is within it. A
    row of another day than its partition's goes to quarantine. A date column called `date` is it unless `day` is None.
    Raises `DataError` for an impossible contract, such as a key that is no column.
    """

    name: str
    columns: tuple[Column, ...]
    key: tuple[str, ...]
    order: tuple[str, ...]
    min_rows: int = 1
    max_quarantined: float = 0.05
    min_volume: float = 0.2
    volume_band: tuple[float, float] = (0.6, 1.6)
    max_nulls: dict[str, float] = field(default_factory=dict)
    references: tuple[Reference, ...] = ()
    freshness: Freshness | None = None
    day: str | None = ""

    def __post_init__(self) -> None:
        if fault := soundness.of_contract(self):
            raise DataError(f"contract {self.name}: {fault}")

    @property
    def day_column(self) -> Column | None:
        """The column that says which data day a row belongs to, if there is one."""
        if self.day is None:
            return None
        named = next((column for column in self.columns if column.name == (self.day or DAY_COLUMN)), None)
        return named if self.day or (named and named.kind is Kind.DATE) else None

    @property
    def schema(self) -> pa.Schema:
        """The Arrow schema of a partition."""
        return pa.schema([pa.field(c.name, c.kind.arrow, nullable=not c.required) for c in self.columns])

    @property
    def names(self) -> Sequence[str]:
        """Column names in order."""
        return [column.name for column in self.columns]


def check_references(contracts: Mapping[str, Contract]) -> None:
    """Raise `DataError` for a reference to a topic or a column that the contracts do not have."""
    for contract in contracts.values():
        for rule in contract.references:
            other = contracts.get(rule.other)
            there = (
                next((column for column in other.columns if column.name == rule.other_column), None) if other else None
            )
            of = f"contract {contract.name}: the reference of {rule.column} to {rule.other}.{rule.other_column}"
            if other is None:
                raise DataError(f"{of}: there is no topic {rule.other}; name one of {', '.join(contracts)}")
            if there is None:
                raise DataError(f"{of}: {rule.other} has no such column; name one of {', '.join(other.names)}")
            own = next(column for column in contract.columns if column.name == rule.column)
            if own.kind is not there.kind:
                raise DataError(f"{of}: {own.kind} is never equal to {there.kind}; name columns of one kind")
