"""The flight itself, and the delay of flights to its destination over the five days before."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import date
from functools import reduce

from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F  # noqa: N812

from tests.use_cases.arrival_delay.spec import SPEC


def build(spark: SparkSession, raw: Mapping[str, DataFrame], wanted: Mapping[str, Sequence[date]]) -> DataFrame:
    """The feature rows of the wanted dates of each horizon, with a leading column `horizon`, in no order."""
    return reduce(DataFrame.union, (_rows(spark, raw, horizon, dates) for horizon, dates in wanted.items()))


def _rows(spark: SparkSession, raw: Mapping[str, DataFrame], horizon: str, dates: Sequence[date]) -> DataFrame:
    days = spark.createDataFrame([(day,) for day in dates], "date date")
    flights = raw["flights"].join(F.broadcast(days), "date")
    past = raw["flights_outcomes"].where("arr_delay is not null")
    past = past.select("dest", F.col("date").alias("flown_on"), F.col("arr_delay").alias("delay"))
    known = (F.col("flown_on") < F.col("date")) & (F.col("flown_on") >= F.date_sub("date", SPEC.lookback_days))
    delays = flights.join(past, "dest").where(known).groupBy("flight_id")
    delays = delays.agg((F.sum("delay") / F.count("delay")).alias("dest_delay"))
    return flights.join(delays, "flight_id", "left").select(
        F.lit(horizon).alias("horizon"),
        "flight_id",
        "date",
        F.col("departed_at").alias("as_of"),
        "carrier",
        "hour",
        "distance",
        "dep_delay",
        "dest_delay",
    )
