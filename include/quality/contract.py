"""What a record of a topic, or a feature row, must look like: columns, types and row rules, as data."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from enum import StrEnum

import pyarrow as pa


class Kind(StrEnum):
    """A column's type, independent of any library."""

    TEXT = "text"
    INTEGER = "integer"
    NUMBER = "number"
    FLAG = "flag"
    DATE = "date"
    INSTANT = "instant"

    @property
    def arrow(self) -> pa.DataType:
        """The Arrow type a column of this kind is stored in; instants are UTC microseconds."""
        return {
            Kind.TEXT: pa.string(),
            Kind.INTEGER: pa.int64(),
            Kind.NUMBER: pa.float64(),
            Kind.FLAG: pa.bool_(),
            Kind.DATE: pa.date32(),
            Kind.INSTANT: pa.timestamp("us", tz="UTC"),
        }[self]


@dataclass(frozen=True)
class Column:
    """One column and the row rules that its values must keep.

    `minimum` and `maximum` are inclusive, in the column's unit; `one_of` lists all values allowed; `pattern` is a
    regular expression that the whole text must match. A row that breaks a rule goes to quarantine.
    """

    name: str
    kind: Kind
    required: bool = True
    minimum: float | None = None
    maximum: float | None = None
    one_of: tuple[str, ...] = ()
    pattern: str | None = None
    note: str = ""

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
    """How long before the data day's end the newest value of an instant column may lie, before a run warns or stops."""

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

    @property
    def schema(self) -> pa.Schema:
        """The Arrow schema of a partition."""
        return pa.schema([pa.field(c.name, c.kind.arrow, nullable=not c.required) for c in self.columns])

    @property
    def names(self) -> Sequence[str]:
        """Column names in order."""
        return [column.name for column in self.columns]
