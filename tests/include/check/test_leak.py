"""A feature that knows the future is found and named; honest ones pass, and prove that they were looked at."""

from __future__ import annotations

from pathlib import Path

import pytest
from pyspark.sql import SparkSession

from include.check.leak import Proof, check_features
from include.check.sample import read_sample
from include.settings import Settings
from include.step import open_context
from tests.use_case_copy import ICE_CREAM, Edits, copied

pytestmark = pytest.mark.spark

LAST = 'return plans.join(rates, "kiosk_day", "left").select('
TODAY = f"""today = raw["sales"].select("kiosk_day", F.col("sold").alias("sold_now"))
    plans = plans.join(today, "kiosk_day", "left").withColumn("forecast", F.expr("forecast + coalesce(sold_now, 0)"))
    {LAST}"""
WEEK = '(F.col("sold_on") < F.col("date")) & (F.col("sold_on") >= F.date_sub("date", SPEC.lookback_days))'


def checked(package: str, lake: Path) -> Proof:
    """What the leak check says of a package."""
    context = open_context(package, Settings(lake=str(lake)))
    return check_features(context, read_sample(context), SparkSession.getActiveSession())


def test_an_honest_use_case_has_no_finding_and_no_doubt(spark: SparkSession, tmp_path: Path) -> None:
    assert checked(ICE_CREAM, tmp_path) == Proof()


@pytest.mark.parametrize(
    ("edits", "column", "moved_by"),
    [
        pytest.param({"features.py": (LAST, TODAY)}, "forecast", "sales.sold", id="an outcome of the same day"),
        pytest.param(
            {"features.py": (WEEK, WEEK.replace("<", "<=", 1))},
            "sold_out_rate",
            "sales.sold_out",
            id="a rolling mean that includes the day itself",
        ),
        pytest.param(
            {"features.py": (WEEK, "F.lit(True)")}, "sold_out_rate", "sales.sold_out", id="a mean over all days"
        ),
    ],
)
def test_a_planted_leak_is_found_by_name(
    spark: SparkSession, tmp_path: Path, edits: Edits, column: str, moved_by: str
) -> None:
    with copied(tmp_path, edits) as package:
        proof = checked(package, tmp_path / "lake")
    assert [finding.field for finding in proof.findings] == [column]
    assert "knows the future" in proof.findings[0].problem
    assert moved_by in proof.findings[0].problem
    assert proof.doubts == []


def test_a_feature_that_looks_back_further_than_it_says_differs_in_a_range(spark: SparkSession, tmp_path: Path) -> None:
    with copied(tmp_path, {"features.py": ("SPEC.lookback_days)", "SPEC.lookback_days + 1)")}) as package:
        proof = checked(package, tmp_path / "lake")
    assert [finding.field for finding in proof.findings] == ["sold_out_rate"]
    assert "computed alone" in proof.findings[0].problem and "lookback_days=7" in proof.findings[0].problem


def test_a_feature_of_chance_is_called_that_and_not_a_leak(spark: SparkSession, tmp_path: Path) -> None:
    random = '"as_of", (F.col("forecast") + F.rand()).alias("forecast"),'
    with copied(tmp_path, {"features.py": ('"as_of", "forecast",', random)}) as package:
        proof = checked(package, tmp_path / "lake")
    assert [finding.field for finding in proof.findings] == ["forecast"]
    assert "chance" in proof.findings[0].problem


def test_features_that_depend_on_nothing_prove_nothing(spark: SparkSession, tmp_path: Path) -> None:
    constant = '"as_of", F.lit(1.0).alias("forecast"), F.lit(0.5).alias("sold_out_rate")'
    with copied(tmp_path, {"features.py": ('"as_of", "forecast", "sold_out_rate"', constant)}) as package:
        proof = checked(package, tmp_path / "lake")
    assert proof.findings == []
    assert "moves no input" in proof.doubts[0]


def test_a_failing_build_is_a_finding_at_its_line(spark: SparkSession, tmp_path: Path) -> None:
    with copied(tmp_path, {"features.py": ('"sold_out_rate"\n', '"sold_out_rat"\n')}) as package:
        proof = checked(package, tmp_path / "lake")
    assert proof.findings[0].where.startswith("features.py:")
    assert "sold_out_rat" in proof.findings[0].problem
