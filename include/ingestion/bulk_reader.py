"""Reading messages many at a time: the same checks as one by one, column by column and without Python's lock.

It accepts all messages or none; then the caller reads them one by one. So it may be strict:
it leaves unusual but valid input (an escape, a duplicate key, a time with an offset) to the other way.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from functools import cached_property

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.json as pj

from include.ingestion.rules import MOMENT, RecordRule
from include.quality.breaches import broken
from include.quality.contract import Column, Kind
from include.quality.reading import LONGEST_NUMBER

READ_AS = {Kind.INTEGER: pa.int64(), Kind.NUMBER: pa.float64(), Kind.FLAG: pa.bool_()}
"""Everything else is read as text, and stays it."""
WHOLE_SECONDS = len("2013-01-01T00:00:00Z")
LENGTHS = {
    Kind.DATE: pa.array([len("2013-01-01")], pa.int32()),
    Kind.INSTANT: pa.array([WHOLE_SECONDS, *range(WHOLE_SECONDS + 2, WHOLE_SECONDS + 8)], pa.int32()),
}
"""How long a date and an instant are; an instant without a fraction of a second, or with up to six digits of it."""


@dataclass(frozen=True)
class BulkReader:
    """One version's messages.

    `event_time` may differ from `anchor` by `tolerance`. The columns in `keys` have at most `longest_key` letters, a
    message at most `longest` bytes.
    """

    schema: Column
    event_time: Column
    columns: Sequence[Column]
    keys: Sequence[str]
    anchor: str
    tolerance: timedelta
    rules: Sequence[RecordRule]
    longest_key: int
    longest: int

    def read(self, values: Sequence[bytes]) -> pa.Table | None:
        """The records, with columns as messages write them; None unless every message is certainly valid."""
        content = b"\n".join(values)
        if max(map(len, values)) > min(self.longest, LONGEST_NUMBER) or not _plain(content):
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
        """Whether a column's values are written as ours are and keep its row rules."""
        given = values.combine_chunks()
        if not _as_ours(column.kind, given.drop_null()) or (column.name in self.keys and self._too_long(given)):
            return False
        if column.one_of or column.pattern:
            given = pc.unique(given)
        return not any(broken(column, given.cast(column.kind.arrow)))

    def _too_long(self, keys: pa.Array) -> bool:
        return bool(
            pa.types.is_string(keys.type) and pc.any(pc.greater(pc.utf8_length(keys), self.longest_key)).as_py()
        )

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


def _as_ours(kind: Kind, given: pa.Array) -> bool:
    """Whether dates and instants are written as in our messages; a cast checks their values."""
    if kind is Kind.NUMBER:
        return bool(pc.all(pc.is_finite(given), min_count=0).as_py())
    if kind not in (Kind.DATE, Kind.INSTANT) or not len(given):
        return True
    if not pc.all(pc.is_in(pc.binary_length(given), LENGTHS[kind])).as_py() or _in_year_0(given):
        return False
    if kind is Kind.DATE:
        return True
    text, begins, ends = _letters(given)
    marks = text[np.stack([begins + 10, begins + 13, begins + 16, ends - 1])]
    return bool((marks == np.array([list(b"T::Z")], np.uint8).T).all())


def _in_year_0(given: pa.Array) -> bool:
    """Whether any is of a year that Python does not have."""
    text, begins, _ = _letters(given)
    return bool((text[begins[:, None] + np.arange(4)] == ord("0")).all(axis=1).any())


def _letters(given: pa.Array) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.int32], npt.NDArray[np.int32]]:
    """The letters of texts, and where among them each begins and ends."""
    _, offsets, letters = given.buffers()
    bounds = np.frombuffer(offsets, np.int32)[given.offset : given.offset + len(given) + 1]
    return np.frombuffer(letters, np.uint8), bounds[:-1], bounds[1:]
