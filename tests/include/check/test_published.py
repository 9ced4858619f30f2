"""What is published is computed again from exactly what its manifest lists: a feature that reads more is found."""

from __future__ import annotations

from datetime import date, timedelta
from pathlib import Path

import pytest
from pyspark.sql import SparkSession

from include.check.leak import Proof, check_features
from include.check.sample import read_sample
from include.settings import Settings
from include.step import Context, open_context
from include.steps.extract import ExtractArguments, extract
from spark_jobs.features import FeaturesArguments, features
from tests.use_case_copy import ICE_CREAM, Edits, copied

pytestmark = pytest.mark.spark

RUN = date(2026, 6, 20)
FORECAST = '"as_of", "forecast",'


def published(package: str, lake: Path) -> Context:
    """A context whose lake has some days of raw data and features."""
    context = open_context(package, Settings(lake=str(lake)))
    for arguments in (RUN - timedelta(days=1), RUN):
        extract(context, ExtractArguments(use_case=package, date=arguments))
    features(context, FeaturesArguments(use_case=package, date=RUN))
    return context


def with_constant(value: str) -> Edits:
    """Ice cream whose forecast has something added that comes from elsewhere."""
    return {"features.py": (FORECAST, f'"as_of", (F.col("forecast") + {value}).alias("forecast"),')}


def checked(context: Context, spark: SparkSession) -> Proof:
    """What the check says on the lake of a context."""
    return check_features(context, read_sample(context), spark)


def test_what_the_manifest_lists_makes_what_is_published(spark: SparkSession, tmp_path: Path) -> None:
    proof = checked(published(ICE_CREAM, tmp_path), spark)
    assert (proof.findings, proof.doubts) == ([], [])
    (note,) = proof.notes
    assert note.startswith("features/morning/data_day=2026-06-") and "was computed again from the 1" in note


def test_a_feature_of_something_that_no_manifest_lists_is_found(spark: SparkSession, tmp_path: Path) -> None:
    beside = tmp_path / "beside.txt"
    beside.write_text("1.5")
    with copied(tmp_path, with_constant(f'float(open("{beside}").read())')) as package:
        context = published(package, tmp_path / "lake")
        beside.write_text("2.5")
        proof = checked(context, spark)
    (finding,) = proof.findings
    assert finding.where == "features.py" and finding.field == "forecast"
    assert "from what is published when it is computed from exactly the partitions that its manifest lists" in str(
        finding
    )


def test_a_feature_that_reads_the_lake_past_its_manifest_is_found(
    spark: SparkSession, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lake = tmp_path / "lake"
    monkeypatch.setenv("NIGHTSHIFT_LAKE", str(lake))
    days = 'len(Lake.open(load_settings(), SPEC.name).days(Dataset(Layer.RAW, "sales")))'
    imports = "from include.settings import load_settings\nfrom include.storage.lake import Dataset, Lake, Layer\n"
    edits = with_constant(days)
    with copied(tmp_path, edits) as package:
        module = tmp_path / package / "features.py"
        module.write_text(module.read_text().replace("from copied.spec", f"{imports}from copied.spec"))
        proof = checked(published(package, lake), spark)
    assert [finding.field for finding in proof.findings] == ["forecast"]
    assert "from what its run has" in proof.findings[0].problem


def test_a_feature_that_lets_spark_read_a_file_is_found_with_its_name(spark: SparkSession, tmp_path: Path) -> None:
    beside = tmp_path / "beside.csv"
    beside.write_text("kiosk_day,more\n")
    joined = f'plans.join(spark.read.csv("{beside}", header=True), "kiosk_day", "left").join(rates'
    with copied(tmp_path, {"features.py": ("plans.join(rates", joined)}) as package:
        proof = checked(published(package, tmp_path / "lake"), spark)
    (finding,) = proof.findings
    assert "beside.csv, which no manifest lists; make it a topic" in finding.problem


def test_what_other_code_has_published_is_not_held_against_the_present_one(spark: SparkSession, tmp_path: Path) -> None:
    published(ICE_CREAM, tmp_path / "lake")
    with copied(tmp_path, with_constant("1")) as package:
        proof = checked(open_context(package, Settings(lake=str(tmp_path / "lake"))), spark)
    assert (proof.findings, proof.doubts) == ([], [])
    assert "of other code or other raw data, so it was not computed again" in proof.notes[0]
