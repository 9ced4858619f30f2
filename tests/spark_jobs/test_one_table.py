"""A use case of one table has the features and labels of the same data in two."""

from __future__ import annotations

from datetime import date
from pathlib import Path

import pandas as pd
from pyspark.sql import SparkSession

from include.modelling.labels import Labels
from include.modelling.tasks.tasks import task_of
from include.settings import Settings
from include.step import open_context
from include.steps.extract import ExtractArguments, extract
from include.storage.lake import Dataset, Layer
from spark_jobs.features import FeaturesArguments, features
from tests.use_case_copy import ICE_CREAM
from tests.use_cases.one_table import one_table

DAY = date(2026, 5, 12)


def made(package: str, lake: Path) -> tuple[pd.DataFrame, list[object]]:
    """The features of the next day, and the labels of the day before."""
    context = open_context(package, Settings(lake=str(lake)))
    extract(context, ExtractArguments(use_case=package, date=DAY))
    features(context, FeaturesArguments(use_case=package, date=DAY))
    spec = context.use_case.spec
    outcomes = context.lake.read(Dataset(Layer.RAW, spec.outcomes).on(DAY))
    labels = Labels.known(context.use_case.part("label").labels, outcomes, spec.day_end(DAY), spec.key, task_of(spec))
    table = context.lake.read(Dataset(Layer.FEATURES, "morning").on(date(2026, 5, 13)))
    return table.to_pandas(), [labels.keys.to_pylist(), labels.values.tolist()]


def test_it_learns_the_same(spark: SparkSession, tmp_path: Path) -> None:
    two = made(ICE_CREAM, tmp_path / "two")
    with one_table(tmp_path) as package:
        one = made(package, tmp_path / "one")

    pd.testing.assert_frame_equal(one[0], two[0])
    assert one[1] == two[1]
