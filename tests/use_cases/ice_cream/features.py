"""Tomorrow's forecast, and how often the kiosk sold out over the seven days before."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import date
from functools import reduce

from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F  # noqa: N812

from tests.use_cases.ice_cream.spec import SPEC


def build(spark: SparkSession, raw: Mapping[str, DataFrame], wanted: Mapping[str, Sequence[date]]) -> DataFrame:
    """The feature rows of the wanted dates of each horizon, with a leading column `horizon`, in no order."""
    return reduce(DataFrame.union, (_rows(spark, raw, horizon, dates) for horizon, dates in wanted.items()))


def _rows(spark: SparkSession, raw: Mapping[str, DataFrame], horizon: str, dates: Sequence[date]) -> DataFrame:
    days = spark.createDataFrame([(day, SPEC.day_start(day)) for day in dates], "date date, as_of timestamp")
    plans = raw["plans"].join(F.broadcast(days), "date")
    past = raw["sales"].select("kiosk", F.col("date").alias("sold_on"), F.col("sold_out").cast("int").alias("out"))
    week = (F.col("sold_on") < F.col("date")) & (F.col("sold_on") >= F.date_sub("date", SPEC.lookback_days))
    rates = plans.join(past, "kiosk").where(week).groupBy("kiosk_day").agg(F.avg("out").alias("sold_out_rate"))
    return plans.join(rates, "kiosk_day", "left").select(
        F.lit(horizon).alias("horizon"), "kiosk_day", "date", "kiosk", "as_of", "forecast", "sold_out_rate"
    )
