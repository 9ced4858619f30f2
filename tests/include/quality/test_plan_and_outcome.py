"""One table of plans and outcomes is two topics in the lake, so that no feature sees an outcome with its plan."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from datetime import date
from pathlib import Path

import pytest

from include.check.package import check_package
from include.errors import DataError, SettingsError
from include.quality.plan_and_outcome import contracts
from include.settings import Settings
from include.step import Context, open_context
from include.steps.extract import ExtractArguments, extract
from include.storage.lake import Dataset, Layer
from include.use_case import Topic, UseCaseSpec, load_use_case
from tests.use_case_copy import ICE_CREAM
from tests.use_cases.one_table import one_table

DAY = date(2026, 6, 29)
PLANS, OUTCOMES = Dataset(Layer.RAW, "kiosks"), Dataset(Layer.RAW, "kiosks_outcomes")


@pytest.fixture
def package(tmp_path: Path) -> Iterator[str]:
    with one_table(tmp_path) as package:
        yield package


def extracted(package: str, lake: Path) -> Context:
    """A lake after extract."""
    context = open_context(package, Settings(lake=str(lake)))
    extract(context, ExtractArguments(use_case=package, date=DAY))
    return context


def spec_of(package: str) -> UseCaseSpec:
    return load_use_case(package).spec


def test_it_is_sound(package: str) -> None:
    assert list(check_package(package)) == []


def test_the_lake_has_the_rows_of_two_tables(package: str, tmp_path: Path) -> None:
    one, two = extracted(package, tmp_path / "one").lake, extracted(ICE_CREAM, tmp_path / "two").lake

    for topic, day in (("plans", date(2026, 6, 30)), ("plans", DAY)):
        assert one.read(PLANS.on(day)).equals(two.read(Dataset(Layer.RAW, topic).on(day)))
    sales = two.read(Dataset(Layer.RAW, "sales").on(DAY))
    assert one.read(OUTCOMES.on(DAY)).select(sales.column_names).equals(sales)


def test_a_plan_is_published_ahead_and_without_its_outcome(package: str, tmp_path: Path) -> None:
    lake = extracted(package, tmp_path / "lake").lake

    assert max(lake.days(PLANS)) == date(2026, 6, 30)
    assert max(lake.days(OUTCOMES)) == DAY
    assert not {"sold", "sold_out"} & set(lake.read(PLANS.on(DAY)).column_names)


def test_rows_that_name_no_day_are_set_apart_once(package: str, tmp_path: Path) -> None:
    table = tmp_path / package / "data" / "kiosks.csv"
    table.write_text(f"{table.read_text()}nobody,,Arno,10,20.0,,\n")

    context = open_context(package, Settings(lake=str(tmp_path / "lake")))
    result = extract(context, ExtractArguments(use_case=package, date=DAY))

    assert result.facts["quarantined"] == 1


def test_a_spec_that_is_copied_keeps_its_topics(package: str) -> None:
    spec = spec_of(package)

    again = replace(spec, title="Another")

    assert again.topics == spec.topics
    assert (again.examples, again.outcomes) == ("kiosks", "kiosks_outcomes")


def test_what_is_late_is_late_in_the_outcome_only() -> None:
    plan, outcome = Topic("rides", day_offset=1, outcomes=("back",), late={"back": "back_at", "gate": "gate_at"}).parts

    assert (plan.late, plan.day_offset) == ({"gate": "gate_at"}, 1)
    assert (outcome.late, outcome.day_offset) == ({"back": "back_at", "gate": "gate_at"}, 0)


@pytest.mark.parametrize(
    ("name", "why"),
    [
        ("sold_off", "outcomes: sold_off is no column of its contract; name one of kiosk_day, "),
        ("kiosk_day", "outcomes: kiosk_day says which row it is"),
        ("date", "outcomes: date says which row it is"),
    ],
)
def test_an_outcome_that_cannot_be_one_is_refused(package: str, name: str, why: str) -> None:
    spec = spec_of(package)
    spec = replace(spec, topics=(replace(spec.topics[0], outcomes=(name,)), spec.topics[1]))

    with pytest.raises(DataError, match=why):
        contracts(spec, load_use_case(package).part("contracts").RAW)


def test_examples_with_their_outcome_in_sight_are_refused(package: str) -> None:
    spec = spec_of(package)

    with pytest.raises(SettingsError, match=r"outcomes='kiosks': is the topic of the examples too; name the outcome's"):
        replace(spec, topics=(Topic("kiosks", day_offset=1),), outcomes="kiosks")
