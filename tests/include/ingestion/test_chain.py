"""The whole way of a record: collected, sent, stored by a shift, extracted, made into features."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from pydantic import SecretStr
from pyspark.sql import SparkSession

from include.quality.contract import Contract
from include.settings import Records, Settings
from include.step import Context, open_context
from include.steps import collect, extract, work
from include.storage.lake import Dataset, Layer
from include.use_cases.flight_delay.spec import SPEC
from include.use_cases.flight_delay.streams import STREAMS
from spark_jobs import features
from tests import flight_data
from tests.include.ingestion.site import WORKERS

pytestmark = [pytest.mark.stack, pytest.mark.spark]
FIRST, DAY = SPEC.first_day, SPEC.first_day + timedelta(days=2)
"""A run needs every day since the first."""


@pytest.fixture
def from_tables(database: str, tmp_path: Path) -> Context:
    """A deployment whose nightly extract reads the tables."""
    settings = Settings(
        lake=str(tmp_path / "lake"),
        broker=str(tmp_path / "landing"),
        database_url=SecretStr(database),
        records=Records.TABLES,
    )
    return open_context(SPEC.package, settings)


@pytest.fixture
def from_files(tmp_path: Path) -> Context:
    """A lake that holds the same days, straight from the source's files."""
    context = open_context(SPEC.package, Settings(lake=str(tmp_path / "direct")))
    flight_data.publish(context.lake, FIRST, DAY)
    return context


def collected(context: Context) -> None:
    """Publish what became known of the days, a third of it late: planned the day before, landed the day after."""
    since, until = SPEC.day_start(FIRST - timedelta(days=1)), SPEC.day_end(DAY + timedelta(days=1))
    for topic in STREAMS:
        span = collect.CollectArguments(
            use_case=SPEC.package, date=DAY, topic=topic, since=since, until=until, late=0.3, seed=11
        )
        assert collect.collect(context, span).rows[topic] > 100


def worked(context: Context) -> None:
    """A shift of each worker."""
    for worker in WORKERS:
        deadline = datetime.now(UTC) + timedelta(minutes=2)
        shift = work.WorkArguments(use_case=SPEC.package, date=DAY, worker=worker, deadline=deadline, drain=True)
        facts = work.work(context, shift).facts
        assert facts["drained"]
        assert "dead_letters" not in facts


def test_features_of_collected_records_are_those_of_the_files(
    from_tables: Context, from_files: Context, spark: SparkSession
) -> None:
    # Given three days that went by topics, workers and tables, and the nightly extract of the last
    collected(from_tables)
    worked(from_tables)
    extract.extract(from_tables, extract.ExtractArguments(use_case=SPEC.package, date=DAY))
    # When features are made of it, and of the very files
    for context in (from_tables, from_files):
        features.features(context, features.FeaturesArguments(use_case=SPEC.package, date=DAY))
    # Then they are the same rows in the same order
    contract: Contract = from_files.use_case.part("feature_contract").FEATURES
    for horizon in SPEC.horizons:
        partition = Dataset(Layer.FEATURES, horizon.name).on(DAY)
        found, wanted = (context.lake.read(partition) for context in (from_tables, from_files))
        assert wanted.num_rows > 500
        assert wanted.column_names == list(contract.names)
        assert found.equals(wanted)
