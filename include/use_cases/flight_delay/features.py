"""Flight delay's features, each known at its row's `as_of`, as one Spark query for any days and both horizons.

Sums are sums of whole numbers (flights, minutes), so they do not depend on the order of rows or on how many days are
computed at once; rates and means are divided from them at the end. Tables are cut by date, and every join is on the
date and a key, so that rows move rarely and no key is too big for a task.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import date
from functools import partial, reduce

import pyarrow as pa
from pyspark import StorageLevel
from pyspark.sql import Column, DataFrame, SparkSession, Window, WindowSpec
from pyspark.sql import functions as F  # noqa: N812

from include.quality.contract import Kind
from include.use_cases.flight_delay.feature_contract import FEATURES, HISTORY, PRIOR_RATE
from include.use_cases.flight_delay.holidays import days_to_holiday
from include.use_cases.flight_delay.spec import SPEC

LATE = 15  # minutes: what the label calls late
HISTORY_WEIGHT = 20  # arrivals at the prior rate that a history's own arrivals are mixed with
STATE_WEIGHT = 5
RECENT = 120  # minutes
AHEAD = "2 hours"
LEGS_BACK = 3
WEATHER_HOURS = 6  # an older observation says nothing

TRAFFIC = {"city": (), "origin": ("origin",), "hour": ("hour",), "origin_hour": ("origin", "hour")}
ROUTES = {"carrier": ("carrier",), "dest": ("dest",), "carrier_dest": ("carrier", "dest")}
STATE_KEYS = {"city": (), "origin": ("origin",), "carrier": ("origin", "carrier"), "dest": ("dest",)}
PLANNED = (
    "date",
    "flight_id",
    "carrier",
    "flight",
    "tailnum",
    "origin",
    "dest",
    "scheduled_departure",
    "scheduled_arrival",
    "distance",
    "hour",
    "minute_of_day",
)
READINGS = (
    "temperature",
    "dew_point",
    "humidity",
    "wind_direction",
    "wind_speed",
    "wind_gust",
    "precipitation",
    "pressure",
    "visibility",
)


def build(spark: SparkSession, raw: Mapping[str, DataFrame], wanted: Mapping[str, Sequence[date]]) -> DataFrame:
    """The feature rows of the wanted dates of each horizon, with a leading column `horizon`, in no order.

    `raw` holds each topic's records of the wanted dates and the lookback days before them, as far as published.
    """
    calendar = F.broadcast(_calendar(spark, wanted))
    legs = _legs(raw).persist(StorageLevel.MEMORY_AND_DISK)
    asked = _asked(legs.join(calendar, "date"))
    rows = _asked(_linked(legs).join(calendar, "date"))
    for history, keys in _histories(legs, calendar):
        rows = rows.join(history.hint("shuffle_hash"), ["date", *keys], "left")
    for state, keys in _states(legs, asked):
        rows = rows.join(state.hint("shuffle_hash"), ["date", "clock", *keys], "left")
    rows = rows.join(_board(raw["weather"], asked).hint("shuffle_hash"), ["date", "hour_slot", "origin"], "left")
    return rows.select("horizon", *_features())


def _calendar(spark: SparkSession, wanted: Mapping[str, Sequence[date]]) -> DataFrame:
    """What is to be known of each wanted date: its start, the nearest holiday and the horizons that want it."""
    days = sorted({day for dates in wanted.values() for day in dates})
    of_horizon = {name: set(dates) for name, dates in wanted.items()}
    table = pa.table(
        {
            "date": pa.array(days, pa.date32()),
            "day_start": pa.array([SPEC.day_start(day) for day in days], pa.timestamp("us", tz="UTC")),
            "days_to_holiday": pa.array([days_to_holiday(day) for day in days], pa.int64()),
            "horizons": pa.array(
                [[name for name, dates in of_horizon.items() if day in dates] for day in days], pa.list_(pa.string())
            ),
        }
    )
    return spark.createDataFrame(table)


# Legs: planned flights with what came of them


def _data_day(instant: Column) -> Column:
    wall = F.from_utc_timestamp(instant, SPEC.timezone) - F.expr(f"interval {SPEC.day_starts.hour} hours")
    return F.to_date(wall)


def _legs(raw: Mapping[str, DataFrame]) -> DataFrame:
    outcomes = raw["flights"].select(
        "date",
        "flight_id",
        "departed_at",
        "arrived_at",
        F.round("dep_delay").cast("long").alias("dep_delay"),
        F.round("arr_delay").cast("long").alias("arr_delay"),
        _data_day(F.col("departed_at")).alias("departed_day"),
        _data_day(F.col("arrived_at")).alias("arrived_day"),
    )
    wall = F.from_utc_timestamp("scheduled_departure", SPEC.timezone)
    planned = raw["schedule"].withColumns(
        {
            "hour": F.hour(wall).cast("long"),
            "minute_of_day": (F.hour(wall) * 60 + F.minute(wall)).cast("long"),
            "planned_day": _data_day(F.col("scheduled_departure")),
        }
    )
    joined = planned.repartition("date").join(
        outcomes.repartition("date").hint("shuffle_hash"), ["date", "flight_id"], "left"
    )
    prompt = F.coalesce(F.col("arrived_day") <= F.col("date"), F.lit(False))
    next_day = F.coalesce(F.datediff("arrived_day", "date") == 1, F.lit(False))
    late = F.col("arr_delay") > LATE
    counts = {
        "flights": F.lit(1).cast("long"),
        "missed": F.coalesce(F.col("departed_day") > F.col("date"), F.lit(True)).cast("long"),
        **{f"n_{name}": when.cast("long") for name, when in (("prompt", prompt), ("next", next_day))},
        **{f"late_{name}": (when & late).cast("long") for name, when in (("prompt", prompt), ("next", next_day))},
        **{
            f"delay_{name}": F.when(when, F.col("dep_delay")).otherwise(0)
            for name, when in (("prompt", prompt), ("next", next_day))
        },
    }
    return joined.withColumns(counts)


# Delay history: what had landed by the start of the flight's own day


COUNTS = ("n", "late", "delay")
DAILY = ("flights", "missed", *(f"{count}_{name}" for name in ("prompt", "next") for count in COUNTS))


def _until(name: str, by: Sequence[str], days: int) -> Column:
    """The sum over a member's rows up to so many days before a row's own date."""
    window = Window.partitionBy(*by).orderBy(F.unix_date("date"))
    return F.coalesce(F.sum(name).over(window.rangeBetween(Window.unboundedPreceding, -days)), F.lit(0))


def _trailing(spans: Sequence[int], by: Sequence[str]) -> dict[str, Column]:
    """Sums over the days before a row's own: a leg that landed a day late is known a day later."""
    sums = {}
    for days in spans:
        for count in COUNTS:
            total = _until(f"{count}_prompt", by, 1) - _until(f"{count}_prompt", by, days + 1)
            if days > 1:
                total += _until(f"{count}_next", by, 2) - _until(f"{count}_next", by, days + 1)
            sums[f"{count}_{days}"] = total
    return sums


def _histories(legs: DataFrame, calendar: DataFrame) -> Iterator[tuple[DataFrame, tuple[str, ...]]]:
    for groups in (TRAFFIC, ROUTES):
        finest = max(groups.values(), key=len)
        yield _rolled(legs, calendar.select("date"), groups, finest), finest


def _rolled(
    legs: DataFrame, dates: DataFrame, groups: Mapping[str, tuple[str, ...]], finest: tuple[str, ...]
) -> DataFrame:
    """History of every member of the finest group on every date, with that of the coarser groups it belongs to."""
    daily = legs.groupBy("date", *finest).agg(*(F.sum(name).alias(name) for name in DAILY))
    members = legs.select(*finest).distinct()
    asked = members.crossJoin(F.broadcast(dates)).select("date", *finest, *(F.lit(0).alias(name) for name in DAILY))
    rows = daily.withColumn("asked", F.lit(False)).unionByName(asked.withColumn("asked", F.lit(True)))
    spans = sorted({days for of in groups for days in HISTORY[of]})
    same_day = {"flights_0": _until("flights", finest, 0) - _until("flights", finest, 1)}
    day_before = {f"{name}_1": _until(name, finest, 1) - _until(name, finest, 2) for name in ("missed", "flights")}
    sums = rows.withColumns(_trailing(spans, finest) | same_day | day_before).where("asked").repartition("date")
    columns: list[Column] = []
    for of, keys in groups.items():
        total = partial(_total, window=Window.partitionBy("date", *keys) if keys != finest else None)
        columns += [total("flights_0").alias(f"{of}_flights"), *_named(of, total)]
        if of == "origin":
            columns.append(_mean(total("missed_1"), total("flights_1")).alias("origin_missed_rate_1d"))
    return sums.select("date", *finest, *columns)


def _total(name: str, window: WindowSpec | None) -> Column:
    return F.col(name) if window is None else F.sum(name).over(window)


def _named(of: str, total: Callable[[str], Column] = F.col) -> Iterator[Column]:
    for days in HISTORY[of]:
        n, late, delay = (total(f"{count}_{days}") for count in COUNTS)
        yield n.alias(f"{of}_arrivals_{days}d")
        yield _rate(late, n, HISTORY_WEIGHT).alias(f"{of}_late_rate_{days}d")
        yield _mean(delay, n).alias(f"{of}_dep_delay_{days}d")


def _rate(late: Column, n: Column, weight: int) -> Column:
    return (late + F.lit(PRIOR_RATE * weight)) / (n + weight)


def _mean(total: Column, n: Column) -> Column:
    return F.when(n > 0, total / n)


# The aircraft: its own history, and its legs before this one


def _linked(legs: DataFrame) -> DataFrame:
    """Every leg with its aircraft's history and its three legs before, back to the day before."""
    aircraft = F.coalesce("tailnum", "flight_id").alias("aircraft")
    window = Window.partitionBy("aircraft").orderBy("scheduled_departure", "flight_id")
    names = ("date", "scheduled_departure", "scheduled_arrival", "departed_at", "arrived_at", "dep_delay", "arr_delay")
    lagged = {f"leg_{back}": F.lag(F.struct(*names), back).over(window) for back in range(1, LEGS_BACK + 1)}
    table = legs.select("*", aircraft).withColumns(lagged | _trailing(HISTORY["tail"], ["aircraft"]))
    recent = {
        leg: F.when((F.col(f"{leg}.date") >= F.date_sub("date", 1)) & F.col("tailnum").isNotNull(), F.col(leg))
        for leg in lagged
    }
    return table.select(*PLANNED, *(leg.alias(name) for name, leg in recent.items()), *_named("tail"))


def _aircraft() -> dict[str, Column]:
    legs = [F.col(f"leg_{back}") for back in range(1, LEGS_BACK + 1)]
    departed = [(leg["date"] <= F.col("state_day")) & (leg["departed_at"] <= F.col("as_of")) for leg in legs]
    arrived = [left & (leg["arrived_at"] <= F.col("as_of")) for left, leg in zip(departed, legs, strict=True)]
    seen = [
        F.when(landed, leg["arrived_at"]).when(left, leg["departed_at"])
        for landed, left, leg in zip(arrived, departed, legs, strict=True)
    ]
    previous, left, landed = legs[0], departed[0], arrived[0]
    due = previous["scheduled_departure"] <= F.col("as_of")
    overdue = _minutes(previous["scheduled_departure"], F.col("as_of"))
    slack = _minutes(previous["scheduled_arrival"], F.col("scheduled_departure"))
    same_date = [F.coalesce((leg["date"] == F.col("date")).cast("long"), F.lit(0)) for leg in legs]
    return {
        "tail_earlier_legs": reduce(Column.__add__, same_date),
        "tail_last_dep_delay": _first(zip(departed, (leg["dep_delay"] for leg in legs), strict=True)),
        "tail_last_arr_delay": _first(zip(arrived, (leg["arr_delay"] for leg in legs), strict=True)),
        "tail_hours_since": _minutes(F.greatest(*seen), F.col("as_of"), per=3_600_000_000),
        "tail_previous_delay": F.when(landed, previous["arr_delay"])
        .when(left, previous["dep_delay"])
        .when(due, overdue),
        "tail_previous_progress": F.when(
            previous["date"].isNotNull(), F.when(landed, 3).when(left, 2).when(due, 1).otherwise(0)
        ),
        "tail_slack": F.when(landed, _minutes(previous["arrived_at"], F.col("scheduled_departure")))
        .when(left, slack - previous["dep_delay"])
        .when(due, slack - overdue)
        .otherwise(slack),
    }


def _first(cases: Iterator[tuple[Column, Column]]) -> Column:
    return F.coalesce(*(F.when(condition, value) for condition, value in cases))


def _minutes(start: Column, end: Column, per: int = 60_000_000) -> Column:
    return (F.unix_micros(end) - F.unix_micros(start)) / per


# Examples: one row per horizon and scheduled flight


def _asked(legs: DataFrame) -> DataFrame:
    ahead = F.col("scheduled_departure") - F.expr(f"interval {AHEAD}")
    as_of = F.when(F.col("horizon") == "nightly", F.col("day_start")).otherwise(ahead)
    clock = F.floor(F.unix_micros("as_of") / 60_000_000)
    return (
        legs.withColumn("horizon", F.explode("horizons"))
        .withColumn("as_of", as_of)
        .withColumn("clock", clock)
        .withColumn("hour_slot", F.floor(F.col("clock") / 60))
        .withColumn("state_day", _data_day(F.col("as_of") - F.expr("interval 1 microsecond")))
    )


# State: what the day had brought by then


def _states(legs: DataFrame, asked: DataFrame) -> Iterator[tuple[DataFrame, tuple[str, ...]]]:
    probes = asked.select("date", F.col("state_day").alias("day"), "clock", "origin", "carrier", "dest")
    for of, keys in STATE_KEYS.items():
        yield _running(of, keys, legs, probes), keys


def _events(legs: DataFrame, of: str, keys: Sequence[str]) -> DataFrame:
    """One row an event: the data day, the minute from which it was known, and what it adds to that day's counts."""
    if of == "dest":
        return _event(legs, keys, "arrived", delay="arr_delay")
    gone = (F.col("departed_day") == F.col("date")) & (F.col("planned_day") == F.col("date"))
    planned = _event(legs.withColumn("planned_at", F.col("scheduled_departure")), keys, "planned")
    return planned.unionAll(_event(legs, keys, "departed", delay="dep_delay", gone=gone.cast("long")))


def _event(legs: DataFrame, keys: Sequence[str], what: str, delay: str = "", gone: Column | None = None) -> DataFrame:
    minutes = F.col(delay) if delay else F.lit(0)
    return legs.where(F.datediff(f"{what}_day", "date").between(0, 1 if delay else 0)).select(
        F.col(f"{what}_day").alias("day"),
        *keys,
        F.ceil(F.unix_micros(f"{what}_at") / 60_000_000).alias("clock"),
        F.lit(None).cast("date").alias("date"),
        F.lit(1 if delay else 0).alias("n"),
        minutes.alias("delay"),
        (minutes > LATE).cast("long").alias("late"),
        F.lit(0 if delay else 1).alias("planned"),
        (F.lit(0) if gone is None else gone).alias("gone"),
    )


def _running(of: str, keys: Sequence[str], legs: DataFrame, probes: DataFrame) -> DataFrame:
    """Counts of a day up to each minute that an example asks for, and over the two hours before it."""
    measures = COUNTS if of == "dest" else (*COUNTS, "planned", "gone")
    known = _events(legs, of, keys).select("day", *keys, "clock", "date", *measures)
    asked = probes.select("day", *keys, "clock", "date", *(F.lit(0).alias(name) for name in measures))
    rows = (
        known.unionAll(asked)
        .repartition("day")
        .groupBy("day", *keys, "clock")
        .agg(F.max("date").alias("date"), *(F.sum(name).alias(name) for name in measures))
    )
    window = Window.partitionBy("day", *keys).orderBy("clock")
    today = window.rangeBetween(Window.unboundedPreceding, 0)
    before = window.rangeBetween(Window.unboundedPreceding, -RECENT)
    sums = {f"{name}_today": F.sum(name).over(today) for name in measures}
    sums |= {f"{name}_before": F.coalesce(F.sum(name).over(before), F.lit(0)) for name in COUNTS}
    return rows.withColumns(sums).where(F.col("date").isNotNull()).select("date", "clock", *keys, *_state(of))


def _state(of: str) -> Iterator[Column]:
    event = "arrival" if of == "dest" else "departure"
    n, late, delay = (F.col(f"{count}_today") for count in COUNTS)
    n_2h, late_2h, delay_2h = (F.col(f"{count}_today") - F.col(f"{count}_before") for count in COUNTS)
    yield n_2h.alias(f"{of}_{event}s_2h")
    yield _mean(delay_2h, n_2h).alias(f"{of}_{event}_delay_2h")
    yield _rate(late_2h, n_2h, STATE_WEIGHT).alias(f"{of}_{event}_late_rate_2h")
    yield _mean(delay, n).alias(f"{of}_{event}_delay_today")
    yield _rate(late, n, STATE_WEIGHT).alias(f"{of}_{event}_late_rate_today")
    if of != "dest":
        yield (F.col("planned_today") - F.col("gone_today")).alias(f"{of}_waiting")


# Weather


def _board(weather: DataFrame, asked: DataFrame) -> DataFrame:
    """What each airport's weather board shows in an hour that an example asks for: the newest observation known."""
    slot = F.ceil(F.unix_micros("known_at") / 3_600_000_000)
    ages = F.sequence(F.lit(0), F.lit(WEATHER_HOURS - 1))
    shown = weather.withColumn("age", F.explode(ages)).withColumn("hour_slot", slot + F.col("age"))
    hours = asked.select("date", "hour_slot").distinct()
    rain = F.round(F.col("precipitation") * 1000).cast("long")
    newest = F.max_by(F.struct("known_at", *READINGS), F.col("known_at"))
    boards = (
        shown.join(hours, "hour_slot")
        .groupBy("date", "hour_slot", "origin")
        .agg(
            newest.alias("newest"),
            (F.sum(F.when(F.col("age") < 3, rain)) / 1000).alias("precipitation_3h"),
            (
                F.max(F.when(F.col("age") == 0, F.col("pressure")))
                - F.max(F.when(F.col("age") == 3, F.col("pressure")))
            ).alias("pressure_change_3h"),
        )
    )
    city = Window.partitionBy("date", "hour_slot")
    worst = {
        "worst_visibility": F.min("visibility").over(city),
        "worst_precipitation_3h": F.max("precipitation_3h").over(city),
    }
    flat = boards.select("date", "hour_slot", "origin", "newest.*", "precipitation_3h", "pressure_change_3h")
    return flat.withColumns(worst)


def _features() -> Iterator[Column]:
    made = _aircraft() | {
        "day_of_week": F.weekday("date") + 1,
        "day_of_year": F.dayofyear("date"),
        "block_minutes": _minutes(F.col("scheduled_departure"), F.col("scheduled_arrival")),
        "weather_age": _minutes(F.col("known_at"), F.col("as_of")),
    }
    types = {Kind.INTEGER: "long", Kind.NUMBER: "double"}
    for column in FEATURES.columns:
        value = made.get(column.name, F.col(column.name))
        yield (value.cast(types[column.kind]) if column.kind in types else value).alias(column.name)
