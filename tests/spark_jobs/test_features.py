"""The features job: what it publishes does not depend on when, how often or for how many days at once it runs."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from datetime import date, timedelta
from pathlib import Path

import pytest
from pyspark.sql import SparkSession

import include.spark
from include.errors import DataError
from include.settings import Settings
from include.step import Context
from include.storage.lake import Dataset, Lake, Layer, Partition, days_between
from include.use_case import UseCase
from include.use_cases.flight_delay.feature_contract import FEATURES
from include.use_cases.flight_delay.spec import SPEC
from spark_jobs.features import FeaturesArguments, features
from tests import flight_data

pytestmark = pytest.mark.spark

DAY = date(2013, 2, 5)
EVERY = 12  # flights: each so manieth, to be quick


def context_of(root: Path, *, history_days: int, raw: Path | None = None) -> Context:
    """Flight delay on a lake with raw data, remembering so many days."""
    settings = Settings(lake=str(root))
    spec = replace(SPEC, history_days=history_days)
    lake = Lake.open(settings, spec.name)
    if raw is not None:
        target = root / spec.name / "raw"
        target.parent.mkdir(parents=True, exist_ok=True)
        target.symlink_to(raw / spec.name / "raw")
    return Context(settings, UseCase(spec), lake)


@pytest.fixture(scope="module")
def raw(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A lake that has raw partitions only."""
    root = tmp_path_factory.mktemp("raw lake")
    flight_data.publish(Lake.open(Settings(lake=str(root)), SPEC.name), SPEC.first_day, DAY, every=EVERY)
    return root


def run(context: Context, day: date, *, force: bool = False) -> dict[str, int]:
    result = features(context, FeaturesArguments(use_case=SPEC.package, date=day, force=force))
    assert not list(context.lake.store.names(f"{SPEC.name}/_scratch")), "nothing is left in the scratch folder"
    return dict(result.rows)


def partitions(first: date, last: date) -> list[Partition]:
    return [
        Dataset(Layer.FEATURES, horizon.name).on(day + timedelta(days=horizon.day_offset))
        for horizon in SPEC.horizons
        for day in days_between(first, last)
    ]


def contents(context: Context, wanted: list[Partition]) -> dict[str, bytes]:
    return {str(one): context.lake.require(one).to_json() for one in wanted}


@pytest.fixture(scope="module")
def range_run(spark: SparkSession, raw: Path, tmp_path_factory: pytest.TempPathFactory) -> Context:
    """Three days of both horizons, computed in one pass."""
    context = context_of(tmp_path_factory.mktemp("range"), history_days=2, raw=raw)
    run(context, DAY)
    return context


def test_a_range_in_one_pass_and_single_days_in_any_order_publish_the_same_bytes(
    spark: SparkSession, raw: Path, range_run: Context, tmp_path: Path
) -> None:
    single = context_of(tmp_path, history_days=0, raw=raw)
    for day in (DAY, DAY - timedelta(days=2)):
        run(single, day)
        own = partitions(day, day)
        assert contents(single, own) == contents(range_run, own)


def test_a_partition_has_the_contract_s_columns_and_order_and_one_row_per_scheduled_flight(range_run: Context) -> None:
    for partition in partitions(DAY - timedelta(days=2), DAY):
        rows = range_run.lake.read(partition)
        schedule = range_run.lake.read(Dataset(Layer.RAW, "schedule").on(partition.day))
        assert rows.schema.names == list(FEATURES.names)
        assert [field.type for field in rows.schema] == [field.type for field in FEATURES.schema]
        assert rows["flight_id"].equals(schedule["flight_id"])
        assert rows.equals(rows.sort_by([(name, "ascending") for name in FEATURES.order]))


def test_a_run_with_nothing_to_do_does_not_start_spark(range_run: Context, monkeypatch: pytest.MonkeyPatch) -> None:
    before = contents(range_run, partitions(DAY - timedelta(days=2), DAY))
    monkeypatch.setattr(include.spark, "spark_session", refuse)
    assert run(range_run, DAY) == {"features/nightly": 76, "features/two_hours": 75}
    assert contents(range_run, partitions(DAY - timedelta(days=2), DAY)) == before


def refuse(*_: object, **__: object) -> None:
    raise AssertionError("Spark was started")


def test_a_missing_raw_day_is_named(raw: Path, tmp_path: Path) -> None:
    context = context_of(tmp_path, history_days=0, raw=raw)
    with pytest.raises(DataError, match="raw/flights/data_day=2013-02-06 is not published"):
        run(context, DAY + timedelta(days=1))


def test_a_job_killed_at_work_and_while_publishing_then_retried_publishes_as_if_never_killed(
    spark: SparkSession, raw: Path, range_run: Context, tmp_path: Path
) -> None:
    # Given a job on the first days there are, which is killed once Spark works, and again once something is published
    root = tmp_path / "a lake"
    context = context_of(root, history_days=SPEC.history_days, raw=raw)
    published = root / SPEC.name / "features"
    day = SPEC.first_day + timedelta(days=2)
    for moment in (
        lambda: any(root.glob("*/_scratch/**/made/**/*.parquet")),
        lambda: any(published.glob("*/*/_manifest.json")),
    ):
        kill_when(moment, root, day)
        # Then nothing is published by halves
        for partition in partitions(SPEC.first_day, day):
            if context.lake.manifest(partition):
                assert context.lake.read(partition).num_rows == context.lake.require(partition).rows
    # When it is run again
    features(context, FeaturesArguments(use_case=SPEC.package, date=day))
    # Then all is as it would have been
    calm = context_of(tmp_path / "calm", history_days=SPEC.history_days, raw=raw)
    features(calm, FeaturesArguments(use_case=SPEC.package, date=day))
    assert contents(context, partitions(SPEC.first_day, day)) == contents(calm, partitions(SPEC.first_day, day))


def kill_when(moment: Callable[[], bool], root: Path, day: date) -> None:
    """Start the job as a process of its own and SIGKILL it at the moment; its Java process ends by itself."""
    command = [sys.executable, "-m", "spark_jobs.features", f"--use-case={SPEC.package}", f"--date={day}"]
    environment = os.environ | {"NIGHTSHIFT_LAKE": str(root)}
    process = subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    deadline = time.monotonic() + 120
    while not moment():
        assert time.monotonic() < deadline and process.poll() is None, "the job ended before it could be killed"
        time.sleep(0.002)
    process.send_signal(signal.SIGKILL)
    process.wait()
