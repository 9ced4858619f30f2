"""A CSV file as a table of text."""

from __future__ import annotations

import codecs
import re
from collections.abc import Sequence

import pyarrow as pa
from pyarrow import csv

from include.errors import DataError
from include.excerpt import excerpt
from include.sources.limit import MIB, Limit

BLOCK_BYTES = 16 * MIB
"""What Arrow reads at a time, and the longest row."""
END = "\x1a"
"""A row that we append: if a quote is left open, it becomes part of a cell."""
SHOWN = 80
"""Characters of a broken row that an error shows."""


def read_csv(
    content: bytes, limit: Limit, null_words: Sequence[str] = ("",), *, quoted_nulls: bool = False
) -> pa.Table:
    """The rows as text, null where an unquoted cell is one of the null words, or also where a quoted one is.

    Lines end in LF, CRLF or CR, cells may have several lines, empty lines are no rows, and the first row names the
    columns. A file without a row has no columns. Raises `DataError` for what is no UTF-8, for rows with more or fewer
    cells than the first, and for a quote that is left open; `limit` names the file.
    """
    _check_utf8(content, limit)
    if re.fullmatch(rb"(?:\xef\xbb\xbf)?[\r\n]*", content):
        return pa.table({})
    ending = _Ending()
    too_long = f"a row is longer than {BLOCK_BYTES / MIB:g} MiB, or a quote is left open"
    try:
        names = _header(content)
        table = csv.read_csv(
            pa.BufferReader(content + f"\n{END}\n".encode()),
            read_options=csv.ReadOptions(autogenerate_column_names=True, block_size=BLOCK_BYTES, use_threads=False),
            parse_options=csv.ParseOptions(newlines_in_values=True, invalid_row_handler=ending.judge),
            convert_options=csv.ConvertOptions(
                column_types=_texts(len(names)),
                null_values=list(null_words),
                strings_can_be_null=True,
                quoted_strings_can_be_null=quoted_nulls,
            ),
        )
    except pa.ArrowInvalid as error:
        reason = " ".join(str(error).split())
        if "straddl" in reason or "Empty CSV" in reason:
            reason = too_long
        raise _broken(limit, reason) from error
    if len(names) != table.num_columns:
        raise _broken(limit, too_long)
    if table.num_columns == 1 and table[0][-1].as_py() == END:
        ending.seen = True
        table = table.slice(0, table.num_rows - 1)
    if not ending.seen:
        raise _broken(limit, "a quote is left open")
    if ending.misfits:
        raise _broken(limit, ending.describe(table.num_rows))
    return table.slice(1).rename_columns(names)


class _Ending:
    """Looks at rows with another number of cells than the first: our own last row, and faulty ones."""

    def __init__(self) -> None:
        self.seen = False
        self.misfits = 0
        self._first = ""

    def judge(self, row: csv.InvalidRow) -> str:
        if row.text == END:
            self.seen = True
            return "skip"
        self.misfits += 1
        self._first = self._first or (
            f"row {row.number} has {row.actual_columns} cells, and the first has {row.expected_columns}: "
            f"{excerpt(repr(row.text), SHOWN)}"
        )
        return "skip"

    def describe(self, rows: int) -> str:
        return f"{self.misfits} of {rows + self.misfits} rows do not fit its header, such as {self._first}"


def _header(content: bytes) -> list[str]:
    """The cells of the first row, as the same reader sees them."""
    beginning = content[:BLOCK_BYTES] + b"\n"

    def read(types: dict[str, pa.DataType]) -> pa.Table:
        return csv.read_csv(
            pa.BufferReader(beginning),
            read_options=csv.ReadOptions(autogenerate_column_names=True, block_size=BLOCK_BYTES, use_threads=False),
            parse_options=csv.ParseOptions(newlines_in_values=True, invalid_row_handler=lambda row: "skip"),
            convert_options=csv.ConvertOptions(column_types=types, check_utf8=False),
        )

    texts = _texts(read({}).num_columns)
    return [str(column[0]) for column in read(texts).columns]


def _texts(width: int) -> dict[str, pa.DataType]:
    return {f"f{number}": pa.string() for number in range(width)}


def _check_utf8(content: bytes, limit: Limit) -> None:
    decoder = codecs.getincrementaldecoder("utf-8")()
    for begin in range(0, len(content) + 1, MIB):
        chunk, held = content[begin : begin + MIB], len(decoder.getstate()[0])
        try:
            decoder.decode(chunk, final=begin + MIB > len(content))
        except UnicodeDecodeError as error:
            raise DataError(
                f"source: {limit.where} is not UTF-8: byte {error.object[error.start]:#04x} at position "
                f"{begin - held + error.start}; save it as UTF-8"
            ) from None


def _broken(limit: Limit, reason: str) -> DataError:
    return DataError(f"source: {limit.where} is broken: {reason}; deliver it again")
