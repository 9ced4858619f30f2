"""What Spark reads was checked, and what it makes is counted before it is published."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pyarrow as pa
import pytest
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F  # noqa: N812

from include.errors import DataError, LakeError
from include.settings import Settings
from include.step import Context
from include.steps.extract import ExtractArguments, extract
from include.storage.lake import Dataset, Lake, Layer, Partition
from spark_jobs.features import FeaturesArguments, features
from spark_jobs.scratch import PART, READ_ONCE, Scratch
from tests.include.learning import Case
from tests.use_cases.ice_cream.features import build
from tests.use_cases.ice_cream.spec import SPEC

pytestmark = pytest.mark.spark

DAY = date(2026, 5, 5)
RAW = Dataset(Layer.RAW, "plans")
MADE = Dataset(Layer.FEATURES, "morning")

Change = Callable[[DataFrame], DataFrame]


@pytest.fixture(scope="module")
def raw(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A lake with raw partitions only."""
    root = tmp_path_factory.mktemp("raw")
    extract(context_of(root), ExtractArguments(use_case=SPEC.package, date=DAY))
    return root


@pytest.fixture
def lake(raw: Path, tmp_path: Path) -> Path:
    """A copy of it."""
    return Path(shutil.copytree(raw, tmp_path / "lake"))


def context_of(root: Path, change: Change = lambda rows: rows) -> Context:
    """Ice cream of two days, whose feature rows are changed on their way out of build()."""

    def changed(spark: SparkSession, raw: Any, wanted: Any) -> DataFrame:
        return change(build(spark, raw, wanted))

    case = Case(replace(SPEC, history_days=1))
    object.__setattr__(case, "given", {"features": SimpleNamespace(build=changed)})
    settings = Settings(lake=str(root))
    return Context(settings, case, Lake.open(settings, case.name))


def run(context: Context) -> None:
    features(context, FeaturesArguments(use_case=SPEC.package, date=DAY))


def published(context: Context) -> list[date]:
    return context.lake.days(MADE)


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (lambda rows: rows.where("kiosk != 'Arno' or date != '2026-05-06'"), "made 11 rows of .*2026-05-06 from 12 ex"),
        (lambda rows: rows.unionByName(rows.where("date = '2026-05-06'")), "made 24 rows of .*2026-05-06 from 12 exam"),
        (lambda rows: rows.where("date != '2026-05-06'"), "made 0 rows of .*2026-05-06 from 12 examples"),
    ],
    ids=["a row is lost", "a join doubles rows", "a day is lost"],
)
def test_a_day_without_one_row_for_each_example_is_not_published(
    spark: SparkSession, lake: Path, change: Change, told: str
) -> None:
    context = context_of(lake, change)

    with pytest.raises(DataError, match=rf"features\.py: build\(\) {told}"):
        run(context)

    # The day before, which is whole, may be there
    assert DAY + timedelta(days=1) not in published(context)


def test_rows_of_a_horizon_that_there_is_not_are_told(spark: SparkSession, lake: Path) -> None:
    context = context_of(lake, lambda rows: rows.withColumn("horizon", F.lit("mornin")))

    with pytest.raises(DataError, match=r"features\.py: 24 rows of build\(\) have no horizon or date .*\(morning\)"):
        run(context)

    assert published(context) == []


def raw_file(context: Context, partition: Partition) -> Path:
    (file,) = context.lake.require(partition).files
    return Path(context.settings.lake) / SPEC.name / str(partition) / file.name


def test_a_raw_file_that_is_not_what_its_manifest_says_is_never_computed_from(spark: SparkSession, lake: Path) -> None:
    context = context_of(lake)
    # Given another day's file in the place of one: whole Parquet, but other rows
    file = raw_file(context, RAW.on(DAY))
    shutil.copy(raw_file(context, RAW.on(DAY - timedelta(days=1))), file)

    with pytest.raises(LakeError, match=rf"lake: {RAW.on(DAY)}/{file.name} is damaged .hash differs.; .*--force"):
        run(context)

    assert published(context) == []


def test_a_raw_file_that_changes_while_spark_works_changes_nothing(spark: SparkSession, lake: Path) -> None:
    calm = context_of(Path(shutil.copytree(lake, lake.parent / "calm")))
    run(calm)

    # Given a file that is damaged once its rows were checked, just before Spark reads
    def damage(rows: DataFrame) -> DataFrame:
        raw_file(context, RAW.on(DAY)).write_bytes(b"no Parquet")
        return rows

    context = context_of(lake, damage)
    run(context)

    # Then what is published was made from what its manifest names
    for day in published(calm):
        assert context.lake.require(MADE.on(day)).to_json() == calm.lake.require(MADE.on(day)).to_json()


def test_spark_writes_no_file_and_no_folder_for_each_day(
    spark: SparkSession, lake: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Hadoop starts a process or three for each, so that cost would follow days
    context = context_of(lake)
    seen: list[str] = []
    clear = context.lake.store.clear

    def look(prefix: str) -> None:
        seen.extend(context.lake.store.names(prefix))
        clear(prefix)

    monkeypatch.setattr(context.lake.store, "clear", look)
    context = replace(context, use_case=Case(replace(SPEC, history_days=4)))
    object.__setattr__(context.use_case, "given", {})
    run(context)

    made = [Path(name) for name in seen if "/made/" in name and name.endswith(".parquet")]
    assert len(published(context)) == 5
    assert len({path.parent for path in made}) == 1
    assert len(made) <= 2, "a file for each task of the session"


def test_days_and_instants_of_any_year_are_the_same_in_spark(spark: SparkSession, tmp_path: Path) -> None:
    # Given raw rows from year 1 on, among them days that the Julian calendar has otherwise or not at all
    days = [date(1, 1, 1), date(4, 2, 29), date(1500, 3, 1), date(1582, 10, 10), date(1600, 2, 29), date(9999, 12, 31)]
    instants = [datetime(day.year, day.month, day.day, 23, 59, 59, 999_999, UTC) for day in days]
    rows = pa.table({"day": pa.array(days), "at": pa.array(instants, pa.timestamp("us", tz="UTC"))})
    lake = Lake.open(Settings(lake=str(tmp_path)), "old")
    manifest = lake.publish(RAW.on(DAY), {"rows.parquet": rows})
    with Scratch.opened(lake, spark_is_local=True) as scratch:
        paths = scratch.stage("plans", {RAW.on(DAY): manifest}, rows.schema)
        # When Spark reads them and writes them
        read = spark.read.schema("day date, at timestamp").parquet(*paths)
        said = [tuple(row) for row in read.select(F.col("day").cast("string"), F.col("at").cast("string")).collect()]
        read.withColumn(PART, F.lit(0)).write.options(**READ_ONCE).parquet(scratch.target)
        # Then it has the same days, in its words and in its files
        assert sorted(said) == [(str(day), f"{day} 23:59:59.999999") for day in days]
        ((_, made),) = scratch.made()
        assert made.cast(rows.schema).sort_by("day") == rows
