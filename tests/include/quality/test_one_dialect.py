"""One contract, one meaning: CSV, Parquet, messages (singly and at once) and validation agree on every value."""

from __future__ import annotations

import csv
import io
import json
import math
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from functools import cache
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from include.ingestion.streams import PoisonError, Stream
from include.quality.conform import conform
from include.quality.contract import Column, Contract, Kind
from include.quality.data_day import DataDay
from include.quality.expectations import DayFacts, day_expectations
from include.quality.inspection import Inspection
from include.quality.judged import judged
from include.sources.csv_file import read_csv
from include.sources.limit import MIB, Limit
from include.sources.parquet_file import read_parquet
from tests.small_case import DAY

NOON = "2026-06-15T12:00:00Z"
LIMIT = Limit("x", MIB)
CASES = Path(__file__).parent / "cases"
REFUSED = "refused"
"""What a reader makes of a value that breaks a rule."""


@cache
def contract(column: Column) -> Contract:
    """A key and a column `x`."""
    return Contract("one", columns=(Column("id", Kind.TEXT), column), key=("id",), order=("id",))


@cache
def topic(column: Column) -> Stream:
    """The same as messages."""
    columns = (Column("id", Kind.TEXT), Column("at", Kind.INSTANT), column)
    return Stream("t", "T", "t", "id", ("id", "at"), "at", "at", timedelta(days=1), {1: columns})


def of_table(column: Column, table: pa.Table) -> Any:
    """What extract makes of the one row of a table."""
    result = conform(table, contract(column), "test")
    assert result.good.num_rows + result.bad.num_rows == 1
    return result.good["x"][0].as_py() if result.good.num_rows else REFUSED


def of_csv(column: Column, text: str) -> Any:
    file = io.StringIO()
    csv.writer(file, quoting=csv.QUOTE_ALL).writerows([["id", "x"], ["a", text]])
    return of_table(column, read_csv(file.getvalue().encode(), LIMIT))


def of_parquet(column: Column, value: Any, kind: pa.DataType | None = None) -> Any:
    file = io.BytesIO()
    pq.write_table(pa.table({"id": ["a"], "x": pa.array([value], kind)}), file)
    return of_table(column, read_parquet(file, LIMIT))


def of_message(column: Column, literal: str) -> Any:
    """What a worker makes of a value that a message writes as this literal, singly; at once it must say the same."""
    value = f'{{"schema":"t/1","event_time":"{NOON}","id":"a","at":"{NOON}","x":{literal}}}'.encode()
    at_once = topic(column).decode_all([value])
    try:
        singly = typed(column, topic(column).decode(value)["x"])
    except PoisonError:
        assert at_once is None
        return REFUSED
    assert at_once is None or typed(column, at_once["x"][0].as_py()) == singly
    return singly


def typed(column: Column, value: Any) -> Any:
    """A value of a message in Python's own type."""
    if value is not None and column.kind is Kind.DATE:
        return date.fromisoformat(value)
    return datetime.fromisoformat(value) if value is not None and column.kind is Kind.INSTANT else value


texts = st.one_of(
    st.text(max_size=6),
    st.from_regex(r"[ +-]?[0-9]{1,20}(\.[0-9]{0,3})?([eE][+-]?[0-9]{1,3})? ?", fullmatch=True),
    st.from_regex(r"[0-9]{4}-[0-9]{1,2}-[0-9]{1,2}", fullmatch=True),
    st.from_regex(
        r"[0-9]{4}-[01][0-9]-[0-3][0-9][Tt ][0-2][0-9]:[0-9]{2}(:[0-6][0-9])?([.,][0-9]{1,9})? ?"
        r"(z|Z|UTC|[+-][0-9]{2}(:?[0-9]{2})?)?",
        fullmatch=True,
    ),
    st.datetimes(timezones=st.sampled_from([UTC])).map(str),
    st.dates().map(str),
    st.floats().map(repr),
    st.integers().map(str),
    st.sampled_from(
        [
            "true",
            "F",
            "yes",
            "1.0",
            "abc",
            "ABC",
            "abc\n",
            "\nabc",
            "É",
            "é",
            "ß",
            "ẞ",
            "٣",
            "a b",
            " ",
            "0",
            "a\x00",
            "\u2028",
        ]
    ),
)
PATTERNS = (
    *(
        "abc",
        "[A-Z]{3}",
        r"\d+",
        r"\w+",
        r"\s*",
        ".",
        ".*",
        "(?s).*",
        "(?i)é+",
        "(?i)ABC",
        r"\pL+",
        "^abc$",
        "a|abc",
        "[^a]*",
    ),
    *(r"(?m)^abc$", r"\x{e9}", r"abc\b", "[[:alpha:]]+", "(?U)a+", "a??bc"),
)
words = st.sampled_from(["abc", "ABC", "É", "é", "0", "1.0", "true", "3"])


@st.composite
def columns(draw: st.DrawFn) -> Column:
    """Any column that a contract can hold, with or without rules."""
    kind = draw(st.sampled_from(Kind))
    rules: dict[str, Any] = {"required": draw(st.booleans())}
    amounts: dict[Kind, st.SearchStrategy[Any]] = {
        Kind.INTEGER: st.integers(-(2**63), 2**63 - 1) | st.integers(-20, 20),
        Kind.NUMBER: st.floats(allow_nan=False, allow_infinity=False) | st.floats(-20, 20),
        Kind.DATE: st.dates(),
        Kind.INSTANT: st.datetimes(timezones=st.just(UTC)),
        Kind.TEXT: words,
        Kind.FLAG: st.booleans(),
    }
    rule = draw(st.integers(0, 3))
    if rule == 1 and kind.ordered:
        low, high = sorted(draw(st.tuples(amounts[kind], amounts[kind])))
        rules |= draw(st.sampled_from([{"minimum": low}, {"maximum": high}, {"minimum": low, "maximum": high}]))
    elif rule == 2:
        rules["one_of"] = tuple(draw(st.lists(amounts[kind], min_size=1, max_size=3)))
    elif rule == 3 and kind is Kind.TEXT:
        rules["pattern"] = draw(st.sampled_from(PATTERNS))
    return Column("x", kind, **rules)


@pytest.mark.slow
@given(columns(), texts)
@example(Column("x", Kind.INTEGER), "50.0")
@example(Column("x", Kind.INTEGER), "9223372036854775807.0")
@example(Column("x", Kind.NUMBER), "1e400")
@example(Column("x", Kind.FLAG), "1.0")
@example(Column("x", Kind.TEXT, pattern="abc"), "abc\n")
@example(Column("x", Kind.DATE), "2026-02-29")
@example(Column("x", Kind.INSTANT), "0001-01-01T00:00:00+01:00")
@settings(max_examples=600, deadline=None)
def test_a_text_means_the_same_in_a_csv_file_a_parquet_file_and_a_message(column: Column, text: str) -> None:
    wanted = of_parquet(column, text)
    assert of_message(column, json.dumps(text, ensure_ascii=False)) == wanted
    assert of_message(column, json.dumps(text)) == wanted
    assert of_csv(column, text) == wanted


numbers = st.one_of(
    st.integers(-(2**63), 2**63 - 1),
    st.integers(-3, 60),
    st.floats(allow_nan=False, allow_infinity=False),
    st.integers(-60, 60).map(float),
    st.decimals(-(10**15), 10**15, places=3),
)


@pytest.mark.slow
@given(columns().filter(lambda column: column.kind in (Kind.INTEGER, Kind.NUMBER, Kind.FLAG)), numbers)
@example(Column("x", Kind.INTEGER), 2.0**62)
@example(Column("x", Kind.INTEGER, maximum=2**53), 2**53 + 1)
@example(Column("x", Kind.INTEGER), Decimal("50.000"))
@example(Column("x", Kind.FLAG), 1.0)
@example(Column("x", Kind.NUMBER, one_of=(-0.0,)), 0)
@settings(max_examples=400, deadline=None)
def test_a_number_means_the_same_whatever_its_type_as_text_and_in_a_message(column: Column, number: Any) -> None:
    text = str(Decimal(number))  # all its digits, where Python writes a float with as few as tell it from others
    wanted = of_csv(column, text)
    assert of_parquet(column, number) == wanted
    assert of_message(column, text) == wanted


@pytest.mark.slow
@given(columns().filter(lambda column: column.kind in (Kind.DATE, Kind.INSTANT)), st.datetimes(timezones=st.just(UTC)))
@settings(max_examples=200, deadline=None)
def test_a_day_and_a_moment_mean_the_same_whatever_their_type_as_text_and_in_a_message(
    column: Column, moment: datetime
) -> None:
    value = moment.date() if column.kind is Kind.DATE else moment
    wanted = of_csv(column, str(value))
    assert of_message(column, f'"{value.isoformat()}"') == wanted
    moments = (pa.timestamp("us", "UTC"), pa.timestamp("us", "Asia/Tokyo"))
    for kind in (pa.date32(), pa.date64()) if column.kind is Kind.DATE else moments:
        assert of_parquet(column, value, kind) == wanted


@pytest.mark.parametrize("kind", [Kind.INTEGER, Kind.NUMBER, Kind.FLAG])
@pytest.mark.parametrize("text", [f"1{'0' * 5_000}e-5000", "9" * 5_000, "1e99999999999999999999", "-1e-99999999999"])
def test_a_number_without_measure_is_the_same_to_all(kind: Kind, text: str) -> None:
    column = Column("x", kind)
    assert of_message(column, text) == of_csv(column, text) == of_parquet(column, text)


@pytest.mark.parametrize("literal", ["[]", "{}", '["a"]', "[1]", "[null]"])
@pytest.mark.parametrize("kind", Kind)
def test_what_is_no_single_value_is_none_of_any_kind(kind: Kind, literal: str) -> None:
    column = Column("x", kind, required=False)
    assert of_message(column, literal) == REFUSED
    assert of_parquet(column, json.loads(literal) or [None]) == REFUSED


@pytest.mark.parametrize("kind", [Kind.TEXT, Kind.DATE, Kind.INSTANT])
def test_a_number_is_no_text_no_date_and_no_instant(kind: Kind) -> None:
    assert of_message(Column("x", kind), "20260615") == REFUSED
    assert of_parquet(Column("x", kind), 20260615) == REFUSED


@pytest.mark.parametrize("kind", Kind)
@pytest.mark.parametrize("required", [True, False])
def test_no_value_is_no_value_everywhere(kind: Kind, *, required: bool) -> None:
    column = Column("x", kind, required=required)
    wanted = REFUSED if required else None
    assert (
        of_message(column, "null")
        == of_parquet(column, None, kind.arrow)
        == of_table(column, read_csv(b"id,x\na,\n", LIMIT))
        == wanted
    )


@pytest.mark.parametrize(
    ("column", "kept", "broken"),
    [
        (Column("x", Kind.TEXT, pattern="(?i)é+"), "ÉÉ", "ÉÉ\n"),
        (Column("x", Kind.TEXT, pattern=r"\d+"), "3", "٣"),
        (Column("x", Kind.INTEGER, one_of=(1, 2**60 + 1)), 2**60 + 1, 2**60),
        (Column("x", Kind.INTEGER, required=False, maximum=2**53), 2**53, 2**53 + 1),
        (Column("x", Kind.DATE, minimum=date(2026, 1, 1)), date(9999, 12, 31), date(2025, 12, 31)),
        (
            Column("x", Kind.INSTANT, maximum=datetime(2300, 1, 1, tzinfo=UTC)),
            datetime(2299, 1, 1, tzinfo=UTC),
            datetime(9999, 1, 1, tzinfo=UTC),
        ),
        (Column("x", Kind.FLAG, one_of=(True,)), True, False),
        (Column("x", Kind.NUMBER, minimum=0.1), 0.1, math.nextafter(0.1, 0)),
        (Column("x", Kind.TEXT), "a", ""),
    ],
    ids=str,
)
def test_validation_judges_as_extract_does(tmp_path: Path, column: Column, kept: Any, broken: Any) -> None:
    table = pa.table({"id": ["a", "b", "c"], "x": pa.array([kept, None, broken], column.kind.arrow)})
    sorted_out = conform(table, contract(column), "test").bad["id"].to_pylist()
    noon = datetime.combine(DAY, datetime.min.time(), UTC)
    facts = DayFacts(None, DataDay(DAY, noon, noon + timedelta(days=1)), fewest_rows=1)
    frame = judged(contract(column), table, facts.day)
    found = Inspection(DAY, tmp_path).findings("one", frame, day_expectations(contract(column), facts, 0.0))
    assert sorted_out == (["b", "c"] if column.required else ["c"])
    assert sum(finding.broken for finding in found) == len(sorted_out)


def test_values_that_were_called_untrue_are_taken() -> None:
    records = read_csv((CASES / "true_values.csv").read_bytes(), LIMIT)
    columns = (
        Column("id", Kind.TEXT),
        Column("integer", Kind.INTEGER),
        Column("date", Kind.DATE),
        Column("instant", Kind.INSTANT),
    )
    result = conform(records, Contract("true", columns, key=("id",), order=("id",)), "test")
    assert result.bad.num_rows == 0
    assert result.good["integer"].to_pylist() == [50, 1578334400000000001, 50]
    assert result.good["date"].to_pylist() == [date(9999, 12, 31), date(1600, 1, 1), date(2026, 6, 15)]
    ten = datetime(2026, 6, 15, 10, tzinfo=UTC)
    assert result.good["instant"].to_pylist() == [ten, datetime(2300, 6, 15, tzinfo=UTC), ten]


@pytest.mark.parametrize(
    ("kind", "values"),
    [
        (Kind.DATE, pa.array([2932897, -719163], pa.int32()).cast(pa.date32())),
        (Kind.INSTANT, pa.array([2**62, 253402300800, -62135596801], pa.timestamp("s", "UTC"))),
        (Kind.INSTANT, pa.array([1, 1001], pa.timestamp("ns", "UTC"))),
        (Kind.INTEGER, pa.array([2**64 - 1], pa.uint64())),
        (Kind.TEXT, pa.array([b"\xff\xfe", b"a\x00"], pa.binary()).view(pa.string())),
    ],
)
def test_what_lies_beyond_a_kind_is_quarantined_and_stops_nobody(kind: Kind, values: pa.Array) -> None:
    table = pa.table({"id": [str(number) for number in range(len(values))], "x": values})
    result = conform(table, contract(Column("x", kind)), "test")
    assert result.good.num_rows == 0
    assert set(result.bad["_rule"].to_pylist()) == {"type"}
    assert all(result.bad["x"].to_pylist())
