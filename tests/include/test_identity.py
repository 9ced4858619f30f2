"""What decides a result besides partitions, and what does not."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from include import identity
from include.modelling.recipe import Gates
from include.quality.contract import Column, Contract, Kind, Reference
from tests.include.learning import WEATHER
from tests.use_cases.ice_cream.spec import SPEC

CONTRACT = Contract("sales", (Column("id", Kind.TEXT), Column("sold", Kind.INTEGER, minimum=0)), ("id",), ("id",))


@pytest.mark.parametrize(
    ("change", "counts"),
    [
        ({"columns": (*CONTRACT.columns, Column("new", Kind.TEXT))}, True),
        ({"columns": (CONTRACT.columns[0], replace(CONTRACT.columns[1], minimum=1))}, True),
        ({"order": ("sold", "id")}, True),
        ({"columns": (CONTRACT.columns[0], replace(CONTRACT.columns[1], note="kg"))}, False),
        ({"max_nulls": {"sold": 0.5}}, False),
        ({"min_rows": 0}, False),
        ({"references": (Reference("id", "plans", "id"),)}, False),
    ],
)
def test_raw_rows_follow_what_sorts_them(change: dict[str, Any], counts: bool) -> None:
    other = identity.raw(SPEC, replace(CONTRACT, **change))
    assert (identity.differences(identity.raw(SPEC, CONTRACT), other) == "contract") is counts


@pytest.mark.parametrize(
    ("change", "what"), [({"history_days": 400}, ""), ({"title": "Two"}, ""), ({"timezone": "UTC"}, "source")]
)
def test_raw_rows_follow_the_zone_and_nothing_else_of_the_spec(change: dict[str, Any], what: str) -> None:
    before = identity.raw(SPEC, CONTRACT)
    assert identity.differences(before, identity.raw(replace(SPEC, **change), CONTRACT)) == what


@pytest.mark.slow
@pytest.mark.parametrize(
    ("gates", "of_candidate", "of_decision"),
    [
        (Gates(), "", ""),
        (Gates(auc_margin=0.01), "", "gates"),
        (Gates(slices=("kiosk",)), "gates", "gates"),
        (Gates(min_slice_rows=5), "gates", "gates"),
    ],
)
def test_gates_decide_a_candidate_by_its_slices_only(gates: Gates, of_candidate: str, of_decision: str) -> None:
    before = identity.candidate(SPEC, WEATHER, Gates()), identity.decision(SPEC, Gates())
    after = identity.candidate(SPEC, WEATHER, gates), identity.decision(SPEC, gates)
    assert [identity.differences(*pair) for pair in zip(before, after, strict=True)] == [of_candidate, of_decision]


@pytest.mark.slow
def test_another_library_or_recipe_is_another_candidate(monkeypatch: pytest.MonkeyPatch) -> None:
    before = identity.candidate(SPEC, WEATHER, Gates())
    assert identity.differences(before, identity.candidate(SPEC, replace(WEATHER, seed=1), Gates())) == "recipe"
    monkeypatch.setattr(identity, "version", lambda name: "0.1")
    assert identity.differences(before, identity.candidate(SPEC, WEATHER, Gates())) == "libraries"


def test_a_patch_of_spark_computes_nothing_again(monkeypatch: pytest.MonkeyPatch) -> None:
    found = []
    for version in ("4.0.1", "4.0.2", "4.1.0"):
        monkeypatch.setattr(identity, "version", lambda name, version=version: version)
        found.append(identity.features(SPEC))
    assert found[0] == found[1] != found[2]


def test_differences_are_told_by_dataset() -> None:
    before = {"raw/sales/data_day=2026-05-01": "a", "raw/sales/data_day=2026-05-02": "b", "code": "c", "gates": "d"}
    after = {"raw/sales/data_day=2026-05-01": "x", "raw/sales/data_day=2026-05-03": "b", "code": "c", "label": "e"}
    assert identity.differences(before, after) == "gates, label, raw/sales"
    assert identity.differences(before, before) == ""
