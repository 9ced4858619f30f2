"""The hour, its temperature on the day before and over three days, and the mean of the whole day before."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import date
from functools import reduce

from pyspark.sql import Column, DataFrame, SparkSession
from pyspark.sql import functions as F  # noqa: N812

from tests.use_cases.hourly_temperature.spec import SPEC

TENTHS = 10_000
"""Temperatures are added up as integers: a sum of floats would depend on the order of the rows."""


def build(spark: SparkSession, raw: Mapping[str, DataFrame], wanted: Mapping[str, Sequence[date]]) -> DataFrame:
    """The feature rows of the wanted dates of each horizon, with a leading column `horizon`, in no order."""
    return reduce(DataFrame.union, (_rows(spark, raw, horizon, dates) for horizon, dates in wanted.items()))


def _rows(spark: SparkSession, raw: Mapping[str, DataFrame], horizon: str, dates: Sequence[date]) -> DataFrame:
    days = spark.createDataFrame([(day, SPEC.day_start(day)) for day in dates], "date date, as_of timestamp")
    hours = raw["hours"].join(F.broadcast(days), "date")
    past = raw["hours_outcomes"].select(
        "airport",
        F.col("hour").alias("past_hour"),
        F.datediff(F.lit("2100-01-01"), "date").alias("past_day"),
        F.round(F.col("temperature") * TENTHS).cast("bigint").alias("warmth"),
    )
    known = hours.withColumn("day", F.datediff(F.lit("2100-01-01"), "date")).join(past, "airport")
    ago, same = F.col("past_day") - F.col("day"), F.col("past_hour") == F.col("hour")
    means = (
        known.where(ago.between(1, SPEC.lookback_days))
        .groupBy("hour_id")
        .agg(
            _mean(same & (ago == 1)).alias("same_hour_1d"),
            _mean(same).alias("same_hour_3d"),
            _mean(ago == 1).alias("day_mean_1d"),
        )
    )
    return hours.join(means, "hour_id", "left").select(
        F.lit(horizon).alias("horizon"),
        *("hour_id", "date", "as_of", "airport", "hour", "same_hour_1d", "same_hour_3d", "day_mean_1d"),
    )


def _mean(which: Column) -> Column:
    warmth = F.when(which, F.col("warmth"))
    return F.sum(warmth) / F.count(warmth) / TENTHS
