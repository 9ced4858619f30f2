"""A contract's shape, as data."""

from __future__ import annotations

import pyarrow as pa
import pytest

from include.quality.contract import Column, Contract, Kind
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
