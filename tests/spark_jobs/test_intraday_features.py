"""Features of what is due within the next hours; ice cream is due at midnight."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pytest
from pyspark.sql import SparkSession

import include.spark
from include.errors import SettingsError, SkippedError
from include.settings import Settings
from include.step import Context, Result
from include.storage.lake import Dataset, Lake, Layer
from include.use_case import load_use_case
from spark_jobs.intraday_features import IntradayFeaturesArguments, intraday_features, wanted_days

USE_CASE = "tests.use_cases.ice_cream"
DAY = date(2026, 5, 20)
KIOSKS = 12
MIDNIGHT = datetime(2026, 5, 19, 22, tzinfo=UTC)  # in Rome
pytestmark = pytest.mark.spark


@pytest.fixture(scope="module")
def session() -> Iterator[SparkSession]:
    with include.spark.spark_session(Settings(spark_master="local[2]"), "tests") as spark:
        yield spark


@pytest.fixture
def context(tmp_path: Path, session: SparkSession, monkeypatch: pytest.MonkeyPatch) -> Context:
    """An empty lake, and a Spark that is up already."""

    @contextmanager
    def ready(settings: Settings, name: str) -> Iterator[SparkSession]:
        yield session

    monkeypatch.setattr(include.spark, "spark_session", ready)
    settings = Settings(lake=str(tmp_path))
    use_case = load_use_case(USE_CASE)
    return Context(settings, use_case, Lake.open(settings, use_case.name))


def asked(after: timedelta, *, day: date = DAY, force: bool = False) -> IntradayFeaturesArguments:
    """The question: so long after midnight."""
    moment = MIDNIGHT + (day - DAY) + after
    return IntradayFeaturesArguments(
        use_case=USE_CASE, date=day, horizon="morning", moment=moment, ahead=timedelta(hours=2), force=force
    )


def run(context: Context, arguments: IntradayFeaturesArguments) -> pa.Table:
    """The rows that the job publishes."""
    result: Result = intraday_features(context, arguments)
    rows = context.lake.read(arguments.partition(Layer.FEATURES))
    assert list(result.rows.values()) == [rows.num_rows]
    return rows


def sold_out_rate(context: Context, kiosk: str) -> float:
    """What the source says of the seven days before."""
    source = context.use_case.part("sources").source(context.settings)
    week = pa.concat_tables(source.read("sales", DAY - timedelta(days=number)) for number in range(1, 8))
    days = week.filter(pc.equal(week["kiosk"], kiosk))
    return sum(str(value).lower() == "true" for value in days["sold_out"].to_pylist()) / 7


def test_what_is_due_is_there_with_its_features_though_the_lake_is_empty(context: Context) -> None:
    rows = run(context, asked(timedelta(minutes=35)))
    assert rows.num_rows == KIOSKS
    assert rows.schema == context.use_case.part("feature_contract").FEATURES.schema
    assert set(rows["date"].to_pylist()) == {DAY}
    assert rows["sold_out_rate"][0].as_py() == pytest.approx(sold_out_rate(context, rows["kiosk"][0].as_py()))


@pytest.mark.parametrize(("minutes", "due"), [(0, True), (119, True), (120, False), (300, False)], ids=str)
def test_an_example_is_due_from_its_as_of_on_for_as_long_as_the_look_ahead(
    minutes: int, due: bool, context: Context
) -> None:
    assert run(context, asked(timedelta(minutes=minutes))).num_rows == (KIOSKS if due else 0)


def test_looks_that_follow_each_other_see_each_example_once(context: Context) -> None:
    looks = [run(context, asked(timedelta(hours=hours, minutes=35))) for hours in (-2, 0, 2)]
    keys = [key for rows in looks for key in rows["kiosk_day"].to_pylist()]
    assert len(keys) == len(set(keys)) == KIOSKS


def test_a_day_that_is_published_is_read_from_the_lake(context: Context) -> None:
    plans = context.use_case.part("sources").source(context.settings).read("plans", DAY)
    contract = context.use_case.part("contracts").RAW["plans"]
    warm = plans.set_column(plans.column_names.index("forecast"), "forecast", pa.array([40.0] * plans.num_rows))
    warm = pa.table({name: warm[name].cast(contract.schema.field(name).type) for name in contract.names})
    context.lake.publish(Dataset(Layer.RAW, "plans").on(DAY), {"rows.parquet": warm})

    assert set(run(context, asked(timedelta(minutes=35)))["forecast"].to_pylist()) == {40.0}


def test_a_retry_starts_no_spark_and_changes_no_byte(context: Context, monkeypatch: pytest.MonkeyPatch) -> None:
    arguments = asked(timedelta(minutes=35))
    run(context, arguments)
    before = context.lake.require(arguments.partition(Layer.FEATURES)).sha256
    monkeypatch.setattr(include.spark, "spark_session", None)

    run(context, arguments)

    assert context.lake.require(arguments.partition(Layer.FEATURES)).sha256 == before


def test_force_computes_the_same_rows_again(context: Context) -> None:
    first = run(context, asked(timedelta(minutes=35)))
    assert run(context, asked(timedelta(minutes=35), force=True)).equals(first)


def test_a_day_of_which_nothing_is_known_is_skipped(context: Context) -> None:
    with pytest.raises(SkippedError, match="nothing is scheduled"):
        intraday_features(context, asked(timedelta(minutes=35), day=date(2026, 8, 1)))


def test_a_moment_that_has_not_come_is_refused(context: Context) -> None:
    with pytest.raises(SettingsError, match="in the future"):
        intraday_features(context, asked(timedelta(), day=datetime.now(UTC).date() + timedelta(days=3)))


@pytest.mark.parametrize(("hours", "days"), [(10, 1), (23, 2)])
def test_a_look_over_midnight_wants_both_days(hours: int, days: int, context: Context) -> None:
    wanted = wanted_days(context.use_case.spec, asked(timedelta(hours=hours)))
    assert wanted == [DAY + timedelta(days=number) for number in range(days)]
