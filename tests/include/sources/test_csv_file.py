"""CSV files of any shape: what Python's csv module wrote is what is read, and what is broken is told."""

from __future__ import annotations

import csv
import io
from typing import Literal

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from include.errors import DataError
from include.sources.csv_file import BLOCK_BYTES, read_csv
from include.sources.limit import Limit

LIMIT = Limit("file.csv", 1 << 30)
BOM = b"\xef\xbb\xbf"


def read(
    content: bytes, *null_words: str, quoted_nulls: bool = False
) -> tuple[list[str], list[tuple[str | None, ...]]]:
    """Names and rows."""
    table = read_csv(content, LIMIT, null_words or ("",), quoted_nulls=quoted_nulls)
    return table.column_names, list(zip(*(column.to_pylist() for column in table.columns), strict=True))


CELLS = st.text(st.characters(codec="utf-8", exclude_characters="\x00"), max_size=6) | st.sampled_from(
    ["", "NA", "None", " ", "a\nb", "a\r\nb", "a\rb", '"', '""', ",", "\x1a", "ü", "007", "x" * 5000]
)
QUOTING: dict[str, Literal[0, 1, 2]] = {
    "minimal": csv.QUOTE_MINIMAL,
    "all": csv.QUOTE_ALL,
    "texts": csv.QUOTE_NONNUMERIC,
}


@settings(max_examples=200, deadline=None)
@given(data=st.data(), quoting=st.sampled_from(sorted(QUOTING)), end=st.sampled_from(["\n", "\r\n", "\r"]))
def test_what_pythons_csv_wrote_is_what_is_read(data: st.DataObject, quoting: str, end: str) -> None:
    width = data.draw(st.integers(1, 4))
    rows = data.draw(st.lists(st.lists(CELLS, min_size=width, max_size=width), min_size=1, max_size=6))
    if quoting == "minimal":
        # It quotes no line end but its own.
        rows = [[cell.translate({10: None, 13: None}) for cell in row] for row in rows]
    out = io.StringIO(newline="")
    csv.writer(out, quoting=QUOTING[quoting], lineterminator=end).writerows(rows)
    content = data.draw(st.sampled_from([b"", BOM])) + out.getvalue().encode()
    cut = data.draw(st.booleans())
    names, found = read(content[: -len(end)] if cut else content)
    alone = width == 1
    assert names == rows[0]
    assert found == [
        tuple(None if cell == "" and quoting == "minimal" and not alone else cell for cell in row) for row in rows[1:]
    ]


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
@pytest.mark.parametrize(
    "cells", [("1", "a"), ("1", "a\r\nb"), ("1", "ü,\n\n" * 200)], ids=["short", "two lines", "many"]
)
def test_files_of_many_blocks_lose_no_row(end: str, cells: tuple[str, str]) -> None:
    row = '{},"{}"{}'.format(*cells, end).encode()
    rows = 3 * BLOCK_BYTES // 2 // len(row)
    table = read_csv(f"a,b{end}".encode() + row * rows, LIMIT)
    assert table.num_rows == rows
    assert table["b"].value_counts().to_pylist() == [{"values": cells[1], "counts": rows}]


SHAPES = {
    "CR": (b"a,b\r1,2\r3,4\r", [("1", "2"), ("3", "4")]),
    "all line ends": (b"a,b\r\n1,2\r3,4\n5,6", [("1", "2"), ("3", "4"), ("5", "6")]),
    "empty lines first": (b"\n\r\n\ra,b\n1,2\n", [("1", "2")]),
    "empty lines between": (b"a,b\n\n1,2\n\n\n3,4\n\n", [("1", "2"), ("3", "4")]),
    "a mark of byte order": (BOM + b'"a",b\n1,2\n', [("1", "2")]),
    "a header alone": (b"a,b", []),
    "a name of two lines": (b'"a",b\n"1\n",2\n', [("1\n", "2")]),
    "quotes within": (b'a,b\nx"y",2"\n', [('x"y"', '2"')]),
    "cells to the end of the file": (b"a,b\n1,", [("1", None)]),
    "the end of a DOS file within a cell": (b"a,b\n\x1a,2\n", [("\x1a", "2")]),
}


@pytest.mark.parametrize(("content", "rows"), SHAPES.values(), ids=SHAPES.keys())
def test_a_file_of_an_odd_shape_is_read(content: bytes, rows: list[tuple[str, str]]) -> None:
    assert read(content) == (["a", "b"], rows)


@pytest.mark.parametrize("content", [b"", b"\n", b"\r\n\r\n", BOM, BOM + b"\n"])
def test_a_file_without_a_row_has_no_columns(content: bytes) -> None:
    assert read_csv(content, LIMIT).equals(pa.table({}))


def test_a_header_may_be_long_and_have_names_twice_or_none() -> None:
    long = "x" * 200_000
    names, rows = read(f'a,,{long},a,"",NA\n1,2,3,4,5,6\n'.encode())
    assert names == ["a", "", long, "a", "", "NA"]
    assert rows == [("1", "2", "3", "4", "5", "6")]


def test_a_quoted_cell_is_text_and_a_bare_one_may_be_no_value() -> None:
    content = b'a,b,c\nNA,"NA",\nNone,"",null\n'
    assert read(content)[1] == [("NA", "NA", None), ("None", "", "null")]
    assert read(content, "", "NA", "null")[1] == [(None, "NA", None), ("None", "", None)]
    assert read(content, "NA")[1] == [(None, "NA", ""), ("None", "", "null")]
    assert read(content, "", "NA", quoted_nulls=True)[1] == [(None, None, None), ("None", None, "null")]


MISFITS = "rows do not fit its header, such as row"
TOO_LONG = "a row is longer than 16 MiB, or a quote is left open"
BROKEN = {
    "too many cells": (b"a,b\n1,2\n1,2,3\n", f"1 of 3 {MISFITS} 3 has 3 cells, and the first has 2: '1,2,3'"),
    "too few": (b"a,b\n1\n2\n1,2\n", f"2 of 4 {MISFITS} 2 has 1 cells, and the first has 2: '1'"),
    "a space on a line": (b"a,b\n \n1,2\n", f"1 of 3 {MISFITS} 2 has 1 cells"),
    "after two blocks": (b"a,b\n" + b"1,2\n" * (BLOCK_BYTES // 2) + b"3\n", f"{MISFITS} {BLOCK_BYTES // 2 + 2} has"),
    "an open quote": (b'a,b\n1,"2\n3,4\n', "a quote is left open"),
    "an open quote at the end": (b'a,b\n1,2\n3,"', "a quote is left open"),
    "an open quote in one column": (b'a\n1\n"2\n3\n', "a quote is left open"),
    "an open quote in the header": (b'a,"b\n1,2\n3,4\n', "a quote is left open"),
    "an open quote and much behind it": (b'a,b\n1,"2\n' + b"3,4\n" * BLOCK_BYTES, TOO_LONG),
    "a row too long": (b"a,b\n1," + b"2" * 3 * BLOCK_BYTES + b"\n", TOO_LONG),
    "a header too long": (b"a," + b"b" * 3 * BLOCK_BYTES + b"\n1,2\n", TOO_LONG),
}


@pytest.mark.parametrize(("content", "reason"), BROKEN.values(), ids=BROKEN.keys())
def test_a_broken_file_is_told_with_the_row(content: bytes, reason: str) -> None:
    with pytest.raises(DataError) as raised:
        read(content)
    message = str(raised.value)
    assert message.startswith("source: file.csv is broken: ")
    assert reason in message
    assert message.endswith("; deliver it again")
    assert "\n" not in message


@pytest.mark.parametrize("before", [b"a,b\n", b"a,b\n" + "ü,x\n".encode() * (1 << 18)])
@pytest.mark.parametrize("wrong", ["ö".encode("latin-1"), "ö".encode()[:1], "a,b\n".encode("utf-16")])
def test_bytes_that_are_no_utf8_are_told_with_their_position(before: bytes, wrong: bytes) -> None:
    with pytest.raises(DataError) as raised:
        read(before + wrong)
    assert str(raised.value) == (
        f"source: file.csv is not UTF-8: byte {wrong[0]:#04x} at position {len(before)}; save it as UTF-8"
    )
