"""Rules between the columns of one record, for one record or many at once."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from string import Formatter
from typing import Any, Protocol

import pyarrow as pa
import pyarrow.compute as pc

from include.excerpt import excerpt

SHOWN = 60
"""Letters of a value that a reason quotes."""
MOMENT = pa.timestamp("us", tz="UTC")
DAY_LETTERS = len("2013-01-01")
ONE_DAY = timedelta(days=1)


class RecordRule(Protocol):
    """A rule of a topic. Dates and instants are texts, as messages write them."""

    def broken(self, record: Mapping[str, Any]) -> str | None:
        """What is wrong with a record, or None."""

    def holds(self, records: pa.Table) -> bool:
        """Whether `broken` would find nothing in any record; False is also allowed if that is hard to tell."""


@dataclass(frozen=True)
class Composed:
    """A text column that is made from others, such as `{date}-{number}`."""

    column: str
    template: str

    def broken(self, record: Mapping[str, Any]) -> str | None:
        """Compare with the composed text."""
        made = self.template.format_map(record)
        given = record[self.column]
        if given == made:
            return None
        return f"{self.column}: {excerpt(repr(given), SHOWN)} is not {excerpt(made, SHOWN)}"

    def holds(self, records: pa.Table) -> bool:
        """Compare column with column; a null that takes part is left to `broken`."""
        parts: list[Any] = []
        for literal, name, _, _ in Formatter().parse(self.template):
            parts += [literal] if literal else []
            parts += [records[name].cast(pa.string())] if name else []
        same = pc.equal(records[self.column], pc.binary_join_element_wise(*parts, ""))
        return bool(pc.all(same, skip_nulls=False).as_py())


@dataclass(frozen=True)
class After:
    """An instant column that must be later than another."""

    column: str
    earlier: str

    def broken(self, record: Mapping[str, Any]) -> str | None:
        """Compare the two moments; a missing one breaks no rule."""
        if record[self.column] is None or record[self.earlier] is None:
            return None
        later, earlier = (datetime.fromisoformat(record[name]) for name in (self.column, self.earlier))
        return None if later > earlier else f"{self.column}: is not after {self.earlier}"

    def holds(self, records: pa.Table) -> bool:
        """Compare column with column."""
        later, earlier = (records[name].cast(MOMENT) for name in (self.column, self.earlier))
        return bool(pc.all(pc.greater(later, earlier), skip_nulls=False).as_py())


@dataclass(frozen=True)
class NearDay:
    """A day, or an instant's UTC day, at most one day from another instant's: zones differ by no more."""

    column: str
    anchor: str

    def broken(self, record: Mapping[str, Any]) -> str | None:
        """Compare the two days."""
        day = date.fromisoformat(record[self.column][:DAY_LETTERS])
        anchor = datetime.fromisoformat(record[self.anchor]).astimezone(UTC).date()
        return None if abs(day - anchor) <= ONE_DAY else f"{self.column}: {day} is not within a day of {self.anchor}"

    def holds(self, records: pa.Table) -> bool:
        """Compare column with column."""
        day = pc.utf8_slice_codeunits(records[self.column], 0, DAY_LETTERS).cast(pa.date32())
        anchor = records[self.anchor].cast(MOMENT).cast(pa.date32())
        away = pc.abs(pc.subtract(day.cast(pa.int32()), anchor.cast(pa.int32())))
        return bool(pc.all(pc.less_equal(away, ONE_DAY.days), skip_nulls=False).as_py())
