"""Reading messages many at a time: the same checks as one by one, column by column and without Python's lock.

It vouches for all messages it is given or for none; then whoever asked reads them one by one. So it may be strict:
JSON that is allowed but unusual (an escape, a key that comes twice) is none of its business.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from functools import cached_property
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.json as pj

from include.ingestion.rules import MOMENT, Rule
from include.quality.contract import Column, Kind

READ_AS = {Kind.INTEGER: pa.int64(), Kind.NUMBER: pa.float64(), Kind.FLAG: pa.bool_()}
"""Everything else is read as text, and stays it."""
WHOLE_SECONDS = len("2013-01-01T00:00:00Z")
LENGTHS = pa.array([WHOLE_SECONDS, *range(WHOLE_SECONDS + 2, WHOLE_SECONDS + 8)], pa.int32())
"""How long an instant is: without a fraction of a second, or with up to six digits of it."""
LONGEST_TEXT = 200
FIRST_DAY = pa.scalar(date(1, 1, 1))


@dataclass(frozen=True)
class BulkReader:
    """One version's messages. `valid` says of a text column's value whether it keeps the column's list or pattern.

    `event_time` may lie `tolerance` from `anchor`. A message may have `longest` bytes.
    """

    schema: Column
    event_time: Column
    columns: Sequence[Column]
    valid: Mapping[str, Callable[[Any], bool]]
    anchor: str
    tolerance: timedelta
    rules: Sequence[Rule]
    longest: int

    def read(self, values: Sequence[bytes]) -> pa.Table | None:
        """The records, their columns as messages write them; None unless every message is beyond doubt."""
        content = b"\n".join(values)
        if max(map(len, values)) > self.longest or not _plain(content):
            return None
        try:
            records = pj.read_json(
                pa.py_buffer(content), pj.ReadOptions(use_threads=False, block_size=len(content) + 1), self._shape
            )
            sound = records.num_rows == len(values) and self._complete(content, records) and self._sound(records)
        except pa.ArrowException:
            return None
        return records if sound else None

    @cached_property
    def _all(self) -> list[Column]:
        return [self.schema, self.event_time, *self.columns]

    @cached_property
    def _shape(self) -> pj.ParseOptions:
        fields = [pa.field(column.name, READ_AS.get(column.kind, pa.string())) for column in self._all]
        return pj.ParseOptions(explicit_schema=pa.schema(fields), unexpected_field_behavior="error")

    def _complete(self, content: bytes, records: pa.Table) -> bool:
        """Whether no message lacks a column, which the parser reads as null.

        It refuses columns that are unknown or come twice, so it is enough to count. There is no escape, so every
        quotation mark begins or ends a column's name or a text.
        """
        quotes = int(np.count_nonzero(np.frombuffer(content, np.uint8) == ord('"')))
        texts: int = sum(len(each) - each.null_count for each in records.columns if pa.types.is_string(each.type))
        return quotes == 2 * (int(records.num_rows) * len(self._all) + texts)

    def _sound(self, records: pa.Table) -> bool:
        return (
            all(self._keeps(column, records[column.name]) for column in self._all)
            and self._near(records)
            and all(rule.holds(records) for rule in self.rules)
        )

    def _keeps(self, column: Column, values: pa.ChunkedArray) -> bool:
        """Whether a column's values keep its row rules."""
        if column.required and values.null_count:
            return False
        given = values.drop_null()
        if not len(given):
            return True
        if column.name in self.valid:
            return all(map(self.valid[column.name], pc.unique(given).to_pylist()))
        return {Kind.TEXT: _texts, Kind.DATE: _dates, Kind.INSTANT: _instants}.get(column.kind, _figures)(column, given)

    def _near(self, records: pa.Table) -> bool:
        away = pc.subtract(records[self.event_time.name].cast(MOMENT), records[self.anchor].cast(MOMENT))
        bounds = pc.min_max(away.cast(pa.int64())).as_py()
        limit = self.tolerance // timedelta(microseconds=1)
        return bool(-limit <= bounds["min"] and bounds["max"] <= limit)


def _plain(content: bytes) -> bool:
    """Whether each line begins an object, and nothing has two ways of writing or ends a text early.

    No column holds an object, so a line has at least one row, and as many rows as messages means one row each.
    """
    if not (content.startswith(b"{") and content.endswith(b"}")):
        return False
    letters = np.frombuffer(content, np.uint8)
    ends = np.flatnonzero(letters == ord("\n"))
    return (
        bool((letters[ends + 1] == ord("{")).all())
        and not any(odd in content for odd in (b"\\", b"\x00", b"\r"))
        and (content.isascii() or _is_utf8(content))
    )


def _is_utf8(content: bytes) -> bool:
    try:
        content.decode()
    except UnicodeDecodeError:
        return False
    return True


def _texts(_column: Column, given: pa.ChunkedArray) -> bool:
    lengths = pc.min_max(pc.utf8_length(given)).as_py()
    return bool(lengths["min"] >= 1 and lengths["max"] <= LONGEST_TEXT)


def _dates(_column: Column, given: pa.ChunkedArray) -> bool:
    lengths = pc.min_max(pc.binary_length(given)).as_py()
    in_range = pc.all(pc.greater_equal(given.cast(pa.date32()), FIRST_DAY)).as_py()  # a year 0 is none of Python's
    return bool(lengths == {"min": 10, "max": 10} and in_range)


def _instants(_column: Column, given: pa.ChunkedArray) -> bool:
    """Whether these are moments (the cast says it) and written as ours are (the cast allows more)."""
    given.cast(MOMENT)
    if not pc.all(pc.is_in(pc.binary_length(given), LENGTHS)).as_py():
        return False
    array = given.combine_chunks()
    _, offsets, letters = array.buffers()
    bounds = np.frombuffer(offsets, np.int32)[array.offset : array.offset + len(array) + 1]
    text = np.frombuffer(letters, np.uint8)
    marks = text[np.stack([bounds[:-1] + 10, bounds[:-1] + 13, bounds[:-1] + 16, bounds[1:] - 1])]
    years = text[bounds[:-1][:, None] + np.arange(4)]
    return bool((marks == np.array([list(b"T::Z")], np.uint8).T).all() and (years != ord("0")).any(axis=1).all())


def _figures(column: Column, given: pa.ChunkedArray) -> bool:
    if column.kind is Kind.FLAG:
        return True
    if column.kind is Kind.NUMBER and not pc.all(pc.is_finite(given)).as_py():
        return False
    bounds = pc.min_max(given).as_py()
    return (column.minimum is None or bounds["min"] >= column.minimum) and (
        column.maximum is None or bounds["max"] <= column.maximum
    )
