"""A contract's shape, as data."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from typing import Any

import pyarrow as pa
import pytest

from include.errors import DataError
from include.quality.contract import Column, Contract, Freshness, Kind, Reference, check_references
from include.use_case import load_use_case

FLIGHT_DELAY = load_use_case("include.use_cases.flight_delay")


@pytest.mark.parametrize("kind", Kind)
def test_every_kind_has_a_type_that_parquet_keeps(kind: Kind) -> None:
    assert isinstance(kind.arrow, pa.DataType)


def test_a_schema_has_the_columns_in_order_and_says_which_may_be_empty() -> None:
    contract = Contract(
        "c",
        columns=(Column("b", Kind.NUMBER), Column("a", Kind.INSTANT, required=False)),
        key=("b",),
        order=("a",),
    )
    assert contract.names == ["b", "a"]
    assert contract.schema == pa.schema(
        [pa.field("b", pa.float64(), nullable=False), pa.field("a", pa.timestamp("us", tz="UTC"))]
    )


@pytest.mark.parametrize(
    ("column", "ruled"),
    [
        (Column("x", Kind.TEXT), True),
        (Column("x", Kind.TEXT, required=False), False),
        (Column("x", Kind.NUMBER, required=False, maximum=1), True),
        (Column("x", Kind.TEXT, required=False, pattern="a"), True),
        (Column("x", Kind.TEXT, required=False, one_of=("a",)), True),
    ],
)
def test_a_column_knows_whether_it_has_a_rule(column: Column, ruled: bool) -> None:
    assert column.ruled is ruled


def test_the_contracts_of_flight_delay_fit_together() -> None:
    raw = FLIGHT_DELAY.part("contracts").RAW
    assert set(raw) == {topic.name for topic in FLIGHT_DELAY.spec.topics}
    for contract in [*raw.values(), FLIGHT_DELAY.part("feature_contract").FEATURES]:
        assert len(set(contract.names)) == len(contract.names)
        assert {*contract.key, *contract.order, *contract.max_nulls} <= set(contract.names)
        for rule in contract.references:
            assert rule.column in contract.names
            assert rule.other_column in raw[rule.other].names


TEXT, NUMBER = Column("id", Kind.TEXT), Column("amount", Kind.NUMBER)
SOUND = Contract("sales", columns=(TEXT, NUMBER, Column("at", Kind.INSTANT)), key=("id",), order=("id",))
NOON = datetime(2026, 6, 15, 12, tzinfo=UTC)
HOUR = timedelta(hours=1)


@pytest.mark.parametrize(
    ("rules", "message"),
    [
        (
            {"pattern": r"(?=a)b"},
            "column x: pattern '(?=a)b' is not of RE2: invalid perl operator: (?=; write it without",
        ),
        ({"pattern": r"(a)\1"}, r"is not of RE2: invalid escape sequence: \1; write it without look-ahead"),
        ({"pattern": r"(?<!a)b"}, "is not of RE2: invalid"),
        ({"pattern": "a)|(b"}, "is not of RE2: unexpected )"),
        ({"pattern": r"\Qa"}, "is not of RE2: missing )"),
        ({"pattern": "["}, "is not of RE2: missing ]"),
        ({"pattern": "\ud800"}, "is not of RE2: it holds half a letter"),
        ({"kind": Kind.INTEGER, "pattern": "1"}, "pattern is for texts, and this is of kind integer; leave it out"),
        ({"minimum": 1}, "minimum is for amounts, dates and instants, and this is of kind text; leave it out"),
        ({"kind": Kind.FLAG, "maximum": True}, "maximum is for amounts, dates and instants, and this is of kind flag"),
        ({"kind": Kind.NUMBER, "minimum": 2, "maximum": 1}, "minimum 2 is above maximum 1; exchange them"),
        ({"kind": Kind.NUMBER, "minimum": float("nan")}, "minimum is nan; values of kind number are finite numbers"),
        ({"kind": Kind.NUMBER, "maximum": date(2026, 1, 1)}, "maximum is datetime.date(2026, 1, 1); values of kind"),
        ({"kind": Kind.INTEGER, "minimum": 0.5}, "minimum is 0.5; values of kind integer are whole numbers of 64 bits"),
        ({"kind": Kind.INTEGER, "maximum": 2**63}, "values of kind integer are whole numbers of 64 bits"),
        ({"kind": Kind.DATE, "minimum": NOON}, "values of kind date are dates (datetime.date)"),
        ({"kind": Kind.DATE, "minimum": 20260101}, "values of kind date are dates (datetime.date)"),
        (
            {"kind": Kind.INSTANT, "minimum": datetime(2026, 6, 15)},
            "values of kind instant are instants (datetime with a",
        ),
        ({"one_of": (1, 2)}, "one_of has 1; values of kind text are texts"),
        ({"one_of": "abc"}, "one_of is a tuple, such as ('abc',)"),
        (
            {"kind": Kind.INTEGER, "one_of": ("1",)},
            "one_of has '1'; values of kind integer are whole numbers of 64 bits",
        ),
        ({"kind": Kind.INTEGER, "one_of": (True,)}, "one_of has True; values of kind integer"),
        ({"kind": Kind.DATE, "one_of": ("2026-01-01",)}, "one_of has '2026-01-01'; values of kind date are dates"),
        ({"one_of": ("ab",), "pattern": "a"}, "one_of has 'ab', which breaks another rule of the column; drop one"),
        ({"kind": Kind.NUMBER, "one_of": (1, 5), "maximum": 3}, "one_of has 5, which breaks another rule"),
        ({"kind": "text"}, "kind 'text' is none; give one of Kind.TEXT"),
        ({"name": ""}, "a column needs a name"),
        (
            {"name": "Data_Day"},
            "column Data_Day: engines make a column of this name from a partition's folder; give it",
        ),
    ],
)
def test_a_column_that_cannot_be_held_is_refused_in_one_line_when_it_is_made(rules: Any, message: str) -> None:
    with pytest.raises(DataError) as refused:
        Column(**{"name": "x", "kind": Kind.TEXT, **rules})
    assert message in str(refused.value)
    assert str(refused.value).startswith("column ")
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"key": ("sku",)}, "key names column sku, which it does not have; name one of id, amount, at"),
        ({"key": "id"}, "key is a tuple of column names, such as ('id',)"),
        ({"key": ()}, "key is empty; name at least one column"),
        ({"key": ("id", "id")}, "key names column id twice; name it once"),
        ({"order": ("when",)}, "order names column when, which it does not have"),
        ({"order": ()}, "order is empty; name at least one column"),
        ({"columns": ()}, "it has no columns; list them"),
        ({"columns": (TEXT, NUMBER, TEXT)}, "column id is there twice; name each once"),
        ({"columns": (TEXT, NUMBER, replace(TEXT, name="ID"))}, "column id is there twice; name each once"),
        ({"columns": (replace(TEXT, required=False), NUMBER)}, "column id is of the key and may be empty"),
        ({"max_nulls": {"note": 0.5}}, "max_nulls names column note, which it does not have"),
        ({"max_nulls": {"amount": 50}}, "max_nulls['amount'] is 50; a share is from 0 to 1"),
        ({"max_quarantined": -0.1}, "max_quarantined is -0.1; a share is from 0 to 1"),
        ({"references": (Reference("shop", "shops", "id"),)}, "a reference names column shop, which it does not have"),
        ({"references": (Reference("id", "ids", "id", 95),)}, "min_share of id is 95; a share is from 0 to 1"),
        ({"freshness": Freshness("seen", HOUR, HOUR)}, "freshness names column seen, which it does not have"),
        ({"freshness": Freshness("id", HOUR, HOUR)}, "freshness is of an instant, and column id is of kind text"),
        ({"freshness": Freshness("at", HOUR * 2, HOUR)}, "freshness of at warns after it fails"),
        ({"min_rows": -1}, "min_rows is -1; give 0 or more"),
        ({"volume_band": (1.6, 0.6)}, "min_volume 0.2, volume_band (1.6, 0.6): give ratios of 0 or more, the low one"),
        ({"day": "sold_on"}, "day names column sold_on, which it does not have; name one of id, amount, at"),
        ({"day": "id"}, "day is a date or an instant, and column id is of kind text"),
    ],
)
def test_a_contract_that_cannot_be_held_is_refused_in_one_line_when_it_is_made(changes: Any, message: str) -> None:
    with pytest.raises(DataError) as refused:
        replace(SOUND, **changes)
    assert str(refused.value).startswith(f"contract sales: {message}")
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize(
    ("reference", "message"),
    [
        (Reference("id", "shops", "id"), "there is no topic shops; name one of sales, plans"),
        (Reference("id", "plans", "sku"), "plans has no such column; name one of id, amount, at"),
        (Reference("id", "plans", "amount"), "text is never equal to number; name columns of one kind"),
    ],
)
def test_a_reference_that_leads_nowhere_is_refused_with_its_contract(reference: Reference, message: str) -> None:
    contracts = {"sales": replace(SOUND, references=(reference,)), "plans": replace(SOUND, name="plans")}
    with pytest.raises(DataError) as refused:
        check_references(contracts)
    assert str(refused.value).startswith("contract sales: the reference of id to ")
    assert message in str(refused.value)


def test_which_column_says_the_day_is_known_by_its_name_unless_the_contract_says_otherwise() -> None:
    dated = replace(SOUND, columns=(*SOUND.columns, Column("date", Kind.DATE)))
    contracts = (SOUND, dated, replace(dated, day=None), replace(dated, day="at"))
    assert [each.day_column and each.day_column.name for each in contracts] == [None, "date", None, "at"]
