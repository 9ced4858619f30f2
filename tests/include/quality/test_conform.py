"""Records are brought to their contract; what cannot be is set apart with the reason, and nothing vanishes."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from include.errors import DataError
from include.quality.breaches import describe
from include.quality.conform import Conformed, conform
from include.quality.contract import Column, Contract, Kind
from include.quality.data_day import DataDay
from include.sources.csv_file import read_csv
from include.sources.limit import MIB, Limit
from include.use_case import load_use_case
from tests.small_case import DAY, SALES, changed, sales

CASES = Path(__file__).parent / "cases"
KEYED = Contract("one", columns=(Column("id", Kind.TEXT),), key=("id",), order=("id",))


def one_column(kind: Kind, values: Any, **rules: Any) -> Conformed:
    """A table of one column `x` beside a key, held to a rule."""
    table = pa.table({"id": [f"{n:03}" for n in range(len(values))], "x": values})
    column = Column("x", kind, **{"required": False, **rules})
    return conform(table, replace(KEYED, columns=(*KEYED.columns, column)), "test")


def test_good_records_come_out_in_the_contracts_types_and_order() -> None:
    records = sales(DAY).slice(3).append_column("unknown", pa.array(range(17)))
    result = conform(records.take(list(reversed(range(17)))), SALES, "test")
    assert result.good.schema.equals(SALES.schema)
    assert result.good["at"].to_pylist() == sorted(result.good["at"].to_pylist())
    assert result.bad.num_rows == 0
    assert result.good.num_rows == 17


@pytest.mark.parametrize(
    ("column", "value", "rule", "reason"),
    [
        ("amount", -1.0, "range", "amount is below 0"),
        ("amount", 1e9, "range", "amount is above 1000"),
        ("amount", None, "required", "amount is empty"),
        ("amount", float("nan"), "required", "amount is empty"),
        ("shop", "west", "one_of", "shop is none of north, south"),
        ("id", "S 7", "pattern", r"id does not match [a-z]+-\d+"),
        ("id", "s-6", "unique", "id was there before"),
        ("at", "tomorrow", "type", "at is not an instant"),
        ("at", "2026-05-20T12:00:00", "type", "at is not an instant"),
    ],
)
def test_a_row_that_breaks_a_rule_goes_to_quarantine_with_the_reason(
    column: str, value: Any, rule: str, reason: str
) -> None:
    records = changed(sales(DAY), column, {7: value})
    result = conform(records, SALES, "test")
    assert result.good.num_rows == 19
    assert result.bad.select(["_rule", "_reason"]).to_pylist() == [{"_rule": rule, "_reason": reason}]
    given_text = None if value is None else str(value)
    assert result.bad[column].to_pylist() == [given_text]


def test_of_duplicates_the_first_good_one_stays() -> None:
    # Given one flight three times, first with an absurd amount
    records = changed(changed(sales(DAY, 3), "id", ["s-1", "s-1", "s-1"]), "amount", [5000.0, 1.0, 2.0])
    result = conform(records, SALES, "test")
    assert result.good["amount"].to_pylist() == [1.0]
    assert result.bad["_rule"].to_pylist() == ["range", "unique"]


@pytest.mark.parametrize(
    ("kind", "values", "expected"),
    [
        (Kind.INTEGER, ["1", " 22 ", "-3", None], [1, 22, -3, None]),
        (Kind.INTEGER, pa.array([1.0, 2.0, None]), [1, 2, None]),
        (Kind.INTEGER, pa.array([1, 2], pa.int8()), [1, 2]),
        (Kind.INTEGER, pa.array([1, 2], pa.uint64()), [1, 2]),
        (Kind.NUMBER, ["1", "+2.5", "-3e2", ".5", "7."], [1.0, 2.5, -300.0, 0.5, 7.0]),
        (Kind.NUMBER, pa.array([1, None], pa.int32()), [1.0, None]),
        (Kind.NUMBER, pa.array([Decimal("1.25")]), [1.25]),
        (Kind.TEXT, pa.array(["a", None], pa.large_string()), ["a", None]),
        (Kind.TEXT, pa.array(["a", "b"]).dictionary_encode(), ["a", "b"]),
        (Kind.FLAG, ["true", "FALSE", "1", "no"], [True, False, True, False]),
        (Kind.FLAG, pa.array([0, 1]), [False, True]),
        (Kind.DATE, ["2013-02-28"], [date(2013, 2, 28)]),
        (Kind.DATE, pa.array([datetime(2013, 2, 28)]), [date(2013, 2, 28)]),
        (Kind.INSTANT, ["2013-03-10T01:30:00-05:00"], [datetime(2013, 3, 10, 6, 30, tzinfo=UTC)]),
        (Kind.INSTANT, ["2013-03-10 06:30:00.25Z"], [datetime(2013, 3, 10, 6, 30, 0, 250_000, tzinfo=UTC)]),
        (Kind.NUMBER, pa.nulls(2), [None, None]),
    ],
)
def test_values_are_read_as_their_kind_when_nothing_is_lost(kind: Kind, values: Any, expected: list[Any]) -> None:
    result = one_column(kind, values)
    assert result.good["x"].to_pylist() == expected
    assert result.good.schema.field("x").type == kind.arrow


@pytest.mark.parametrize(
    ("kind", "values"),
    [
        (Kind.INTEGER, ["1.5", "one", "", "99999999999999999999"]),
        (Kind.INTEGER, [1.5, float("inf")]),
        (Kind.INTEGER, [True]),
        (Kind.NUMBER, ["1,5", "1 mile", "--1", "0x1"]),
        (Kind.NUMBER, [float("inf")]),
        (Kind.NUMBER, [datetime(2013, 1, 1, tzinfo=UTC)]),
        (Kind.TEXT, [1, 2]),
        (Kind.FLAG, ["maybe", "2"]),
        (Kind.DATE, ["2013-02-30", "28.02.2013"]),
        (Kind.INSTANT, ["2013-01-01", "2013-01-01T10:00:00", "soon"]),
        (Kind.INSTANT, [datetime(2013, 1, 1)]),
    ],
)
def test_values_of_another_type_are_set_apart_and_never_guessed(kind: Kind, values: list[Any]) -> None:
    result = one_column(kind, values)
    assert result.good.num_rows == 0
    assert set(result.bad["_rule"].to_pylist()) == {"type"}
    assert result.bad["x"].to_pylist() == [str(value) for value in values]


def test_a_column_that_was_renamed_is_named_with_what_is_there_instead() -> None:
    records = sales(DAY).rename_columns(["id", "shop", "price", "note", "at"])
    with pytest.raises(DataError) as raised:
        conform(records, SALES, "source: sales of 2026-05-20")
    assert str(raised.value) == (
        "source: sales of 2026-05-20: rule column_present, column amount: not in the source, so all 20 rows lack it; "
        "it has price instead: renamed? (missing in all: amount); give it under its name, or change the contract"
    )


def test_a_breach_is_told_with_rule_column_count_and_examples() -> None:
    records = changed(sales(DAY), "shop", {1: "west", 2: "east", 3: "west"})
    result = conform(records, SALES, "test")
    assert describe(result.worst, records) == (
        "rule one_of, column shop: 3 of 20 rows (shop is none of north, south), such as 'west', 'east'"
    )


def test_a_file_of_the_day_before_is_set_apart_by_the_day_that_its_rows_name() -> None:
    # Given kiosk sales of 14 June under the name of 15 June, in Rome
    use_case = load_use_case("tests.use_cases.ice_cream")
    records = read_csv((CASES / "sales-2026-06-15.csv").read_bytes(), Limit("sales", MIB))
    day = DataDay.of(use_case.spec, date(2026, 6, 15))
    result = conform(records, use_case.part("contracts").RAW["sales"], "test", day)
    assert result.good.num_rows == 0
    assert set(result.bad["_rule"].to_pylist()) == {"day"}
    assert set(result.bad["_reason"].to_pylist()) == {"date is not of 2026-06-15, its partition's day"}
    # When the day is theirs, or the contract says that the column is not the day, they are good
    yesterday = DataDay.of(use_case.spec, date(2026, 6, 14))
    contract = use_case.part("contracts").RAW["sales"]
    for held_to, under in ((yesterday, contract), (day, replace(contract, day=None))):
        assert conform(records, under, "test", held_to).bad.num_rows == 0


def test_a_data_day_of_25_hours_has_all_of_them_and_no_more() -> None:
    # Given New York on the day clocks go back, from 01:00 to 01:00
    spec = load_use_case("include.use_cases.flight_delay").spec
    day = DataDay.of(spec, date(2013, 11, 3))
    at = [day.begins.astimezone(UTC) + timedelta(hours=hours) for hours in range(-1, 26)]
    contract = replace(KEYED, columns=(*KEYED.columns, Column("at", Kind.INSTANT)), day="at")
    table = pa.table({"id": [f"{n:02}" for n in range(27)], "at": pa.array(at, Kind.INSTANT.arrow)})
    assert conform(table, contract, "test", day).bad["id"].to_pylist() == ["00", "26"]


def test_a_column_of_the_source_is_never_overwritten_and_none_is_lost() -> None:
    # Given a source with columns of our names, two of one name, one without a name, and some that engines take for one
    names = ["id", "_rule", "_reason", "__reason", "note", "note", "", "Note", "data_day"]
    records = pa.table([pa.array([f"{name}{place}"]) for place, name in enumerate(names)], names=names)
    contract = replace(KEYED, columns=(Column("id", Kind.TEXT, pattern="x"),))
    bad = conform(records, contract, "test").bad
    assert bad.to_pylist() == [
        {
            "id": "id0",
            "_rule": "_rule1",
            "_reason": "_reason2",
            "__reason": "__reason3",
            "note": "note4",
            "note_6": "note5",
            "column_7": "6",
            "Note_8": "Note7",
            "data_day_9": "data_day8",
            "__rule": "pattern",
            "___reason": "id does not match x",
        }
    ]


def test_a_column_of_the_contract_that_is_there_twice_is_refused() -> None:
    records = pa.table([pa.array(["a"]), pa.array(["b"])], names=["id", "id"])
    with pytest.raises(DataError, match=r"test: rule column_present, column id: 2 columns have this name, and which"):
        conform(records, KEYED, "test")


values = st.one_of(
    st.none(), st.text(max_size=8), st.floats().map(str), st.integers().map(str), st.sampled_from(["north", "s-1"])
)


@pytest.mark.slow
@given(st.lists(st.tuples(values, values, values, values, values), max_size=30))
@settings(max_examples=150, deadline=None)
def test_whatever_comes_no_row_vanishes_and_every_good_row_keeps_the_contract(rows: list[tuple[Any, ...]]) -> None:
    records = pa.table(
        {name: pa.array([row[place] for row in rows], pa.string()) for place, name in enumerate(SALES.names)}
    )
    result = conform(records, SALES, "test")
    # Rows in are rows out
    assert result.good.num_rows + result.bad.num_rows == len(rows)
    # Bad rows are just as they came
    assert set(map(tuple, zip(*(result.bad[name].to_pylist() for name in SALES.names), strict=True))) <= set(rows)
    # Good rows keep every rule
    good = result.good
    assert good.schema.equals(SALES.schema)
    assert pc.count_distinct(good["id"]).as_py() == good.num_rows
    assert all(0 <= amount <= 1000 for amount in good["amount"].to_pylist())
    assert set(good["shop"].to_pylist()) <= {"north", "south"}


mixed = st.lists(st.one_of(st.none(), st.floats(-2000, 2000)), min_size=1, max_size=30)


@given(mixed)
@settings(max_examples=50, deadline=None)
def test_conforming_good_rows_again_changes_nothing(amounts: list[float | None]) -> None:
    good = conform(changed(sales(DAY, len(amounts)), "amount", pa.array(amounts, pa.float64())), SALES, "test").good
    again = conform(good, SALES, "test")
    assert again.good.equals(good)
    assert again.bad.num_rows == 0
