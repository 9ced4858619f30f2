"""The features of a month, computed a second time in plain SQL by another engine."""

from __future__ import annotations

from datetime import date
from pathlib import Path

import pyarrow.compute as pc
import pytest
from pyspark.sql import SparkSession

from benchmarks.flight_delay.duckdb_features import compute
from include.storage.lake import days_between
from include.use_cases.flight_delay.feature_contract import FEATURES
from include.use_cases.flight_delay.features import build
from tests import flight_data

pytestmark = pytest.mark.spark

FIRST, LAST = date(2013, 1, 28), date(2013, 2, 24)


def test_spark_and_duckdb_agree_on_every_value_of_a_month(spark: SparkSession, tmp_path: Path) -> None:
    paths = flight_data.write(flight_data.tables(date(2013, 1, 1), LAST), tmp_path)
    days = days_between(FIRST, LAST)
    wanted = {"two_hours": days, "nightly": days}
    expected = compute(paths, wanted).sort_by([("horizon", "ascending"), ("flight_id", "ascending")])
    built = build(spark, {topic: spark.read.parquet(path) for topic, path in paths.items()}, wanted).toArrow()
    spark.catalog.clearCache()
    actual = built.sort_by([("horizon", "ascending"), ("flight_id", "ascending")])
    assert actual.num_rows == expected.num_rows > 45_000
    for name in ["horizon", *FEATURES.names]:
        left, right = actual[name], expected[name].cast(actual[name].type)
        assert left.is_null().equals(right.is_null()), f"{name}: nulls differ"
        if name in (
            "horizon",
            "tailnum",
            "carrier",
            "origin",
            "dest",
            "flight_id",
            "date",
            "as_of",
            "scheduled_departure",
        ):
            assert left.equals(right), name
        else:
            worst = pc.max(pc.abs(pc.subtract(left.cast("double"), right.cast("double")))).as_py()
            assert worst is None or worst <= 1e-9, f"{name}: differs by {worst}"
