"""Which feature partitions a run computes: those that are missing, and those that are no longer true."""

from __future__ import annotations

from datetime import date
from pathlib import Path

import pyarrow as pa
import pytest

from include.settings import Settings
from include.step import Context, open_context
from include.steps.extract import ExtractArguments, extract
from include.storage.lake import Dataset, Lake, Layer, Partition
from spark_jobs.features import _work
from tests.use_cases.ice_cream.spec import SPEC

DAY = date(2026, 5, 12)
CODE = "the code of today"


@pytest.fixture
def context(tmp_path: Path) -> Context:
    """Ice cream's raw partitions, and feature partitions that say they were made from them."""
    context = open_context(SPEC.package, Settings(lake=str(tmp_path)))
    extract(context, ExtractArguments(use_case=SPEC.package, date=DAY))
    work = _work(SPEC, context.lake, DAY, CODE, set())
    for target in work.ingredients:
        context.lake.publish(target, {"features.parquet": pa.table({"n": [1]})}, inputs=work.ingredients[target])
    return context


def lacking(lake: Lake, code: str = CODE) -> list[Partition]:
    return list(_work(SPEC, lake, DAY, code, set()).ingredients)


def test_what_is_published_and_true_is_left_alone(context: Context) -> None:
    assert lacking(context.lake) == []


def test_what_other_code_made_is_computed_again_and_replaced(context: Context) -> None:
    work = _work(SPEC, context.lake, DAY, "the code of tomorrow", set())
    assert len(work.ingredients) == 12
    assert work.outdated == set(work.ingredients)


def test_what_was_made_from_a_raw_day_that_was_replaced_is_computed_again(context: Context) -> None:
    # When the sales of 3 May are published anew, with a row less
    sales = Dataset(Layer.RAW, "sales").on(date(2026, 5, 3))
    context.lake.publish(sales, {"rows.parquet": context.lake.read(sales).slice(1)}, force=True)
    # Then the days that look back to it are computed again, and no other
    days = [partition.day for partition in lacking(context.lake)]
    assert days == [date(2026, 5, day) for day in range(4, 11)]


def test_what_lost_its_raw_day_stays(context: Context) -> None:
    raw = Dataset(Layer.RAW, "sales").on(date(2026, 5, 3))
    context.lake.store.delete(f"{context.lake.prefix}/{raw}/_manifest.json")
    assert lacking(context.lake) == []


def test_it_is_said_what_is_out_of_date_and_what_stays_so(context: Context, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO")
    raw = Dataset(Layer.RAW, "sales").on(date(2026, 5, 3))
    context.lake.store.delete(f"{context.lake.prefix}/{raw}/_manifest.json")
    _work(SPEC, context.lake, DAY, "the code of tomorrow", set())
    assert caplog.messages == [
        "features: published partitions are out of date (another code: 5) and computed again",
        "features: 7 partitions stay as other code made them, as raw data that they need are gone",
    ]
