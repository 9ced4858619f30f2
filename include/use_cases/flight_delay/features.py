"""Flight delay's features, each known at its row's `as_of`, as one Spark query for any days and both horizons.

Sums are sums of whole numbers (flights, minutes), so they do not depend on the order of rows or on how many days are
computed at once; rates and means are divided from them at the end. Tables are cut by date, and every join is on the
date and a key, so that rows move rarely and no key is too big for a task.

Relations are DataFrames, columns are SQL text: a column made of Column objects costs Java a dozen calls, a text one.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from datetime import date

import pyarrow as pa
from pyspark import StorageLevel
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F  # noqa: N812

from include.quality.contract import Kind
from include.use_cases.flight_delay.contracts import WEATHER
from include.use_cases.flight_delay.feature_contract import FEATURES, HISTORY, PRIOR_RATE
from include.use_cases.flight_delay.holidays import days_to_holiday
from include.use_cases.flight_delay.spec import SPEC

MINUTE = 60_000_000  # microseconds
HOUR = 60 * MINUTE
DAY = 24 * HOUR
AHEAD = 2 * HOUR

LATE = 15  # minutes: what the label calls late
HISTORY_WEIGHT = 20  # arrivals at the prior rate that a history's own arrivals are mixed with
STATE_WEIGHT = 5
RECENT = 120  # minutes
LEGS_BACK = 3
WEATHER_HOURS = 6  # an older observation says nothing
ASKED_HOURS = (-3, 22)  # from a day's start: flights of 0:00 to 24:00, two hours ahead, whatever the clock changes

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
READINGS = tuple(column.name for column in WEATHER)

COUNTS = ("n", "late", "delay")
"""What is summed of the flights that an event is about: how many, how many late, their minutes of delay."""

ARRIVED = {"prompt": ("arrived_day <= date", 1), "next": ("datediff(arrived_day, date) = 1", 2)}
"""When a leg landed, and from how many days later on its delay is history."""

DAILY = ("flights", "missed", *(f"{count}_{when}" for when in ARRIVED for count in COUNTS))
"""What a day adds to a history."""

CAST = (Kind.INTEGER, Kind.NUMBER)
"""Kinds whose expressions may come out as another type of number."""


def build(spark: SparkSession, raw: Mapping[str, DataFrame], wanted: Mapping[str, Sequence[date]]) -> DataFrame:
    """The feature rows of the wanted dates of each horizon, with a leading column `horizon`, in no order.

    `raw` holds each topic's records of the wanted dates and the lookback days before them, as far as published.
    """
    calendar = F.broadcast(_calendar(spark, wanted))
    legs = _legs(raw).persist(StorageLevel.MEMORY_AND_DISK)
    asked = _asked(legs.join(calendar, "date"))
    rows = _asked(_linked(legs).join(calendar, "date"))
    tables = [*_histories(legs, calendar), *_states(legs, asked), _board(raw["weather"], calendar)]
    flat = rows.columns
    for number, (table, keys) in enumerate(tables):
        rows = _looked_up(rows, table, keys, f"table_{number}")
        flat.append(f"table_{number}.*")
    return rows.selectExpr(*flat, *_aircraft_flags()).selectExpr("horizon", *_features())


def _looked_up(rows: DataFrame, table: DataFrame, keys: Sequence[str], name: str) -> DataFrame:
    """The rows with what a table says of their keys, as one struct.

    A join writes its rows again: a struct is copied whole, columns are written one by one.
    """
    packed = f"struct({', '.join(column for column in table.columns if column not in keys)}) as {name}"
    return rows.join(table.selectExpr(*keys, packed).hint("shuffle_hash"), list(keys), "left")


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


# Instants, and what the local clock reads: plain numbers, as Spark's calendar arithmetic is many times dearer


def _wall(instant: str) -> str:
    return f"unix_micros(from_utc_timestamp({instant}, '{SPEC.timezone}'))"


def _data_day(wall: str) -> str:
    return f"date_from_unix_date(cast(floor(({wall} - {SPEC.day_starts.hour * HOUR}) / {DAY}) as int))"


def _between(start: str, end: str, unit: int = MINUTE) -> str:
    return f"((unix_micros({end}) - unix_micros({start})) / {unit})"


# Legs: planned flights with their outcomes


def _legs(raw: Mapping[str, DataFrame]) -> DataFrame:
    outcomes = raw["flights"].selectExpr(
        "date",
        "flight_id",
        *(f"{event}_at" for event in ("departed", "arrived")),
        *(f"cast(round({delay}) as bigint) as {delay}" for delay in ("dep_delay", "arr_delay")),
        *(f"{_data_day(_wall(f'{event}_at'))} as {event}_day" for event in ("departed", "arrived")),
    )
    clocked = raw["schedule"].selectExpr("*", f"{_wall('scheduled_departure')} as wall")
    planned = clocked.selectExpr(
        "*",
        f"floor(wall / {HOUR}) % 24 as hour",
        f"floor(wall / {MINUTE}) % 1440 as minute_of_day",
        f"{_data_day('wall')} as planned_day",
    ).drop("wall")
    joined = planned.repartition("date").join(
        outcomes.repartition("date").hint("shuffle_hash"), ["date", "flight_id"], "left"
    )
    return joined.selectExpr(
        "*",
        "1L as flights",
        "cast(coalesce(departed_day > date, true) as bigint) as missed",
        *(f"cast(coalesce({landed}, false) as bigint) as n_{when}" for when, (landed, _) in ARRIVED.items()),
        *(
            f"cast(coalesce({landed}, false) and arr_delay > {LATE} as bigint) as late_{when}"
            for when, (landed, _) in ARRIVED.items()
        ),
        *(f"case when {landed} then dep_delay else 0 end as delay_{when}" for when, (landed, _) in ARRIVED.items()),
    )


# Delay history: what had landed by the start of the flight's own day


def _until(name: str, by: Sequence[str], days: int) -> str:
    """The sum over a member's rows up to this many days before a row's own date."""
    member = f"partition by {', '.join(by)} order by unix_date(date)"
    total = f"sum({name}) over ({member} range between unbounded preceding and {days} preceding)"
    return f"coalesce({total}, 0) as {name}_until_{days}"


def _untils(spans: Sequence[int], by: Sequence[str]) -> Iterator[str]:
    """The sums that trailing ones are differences of."""
    for when, (_, known) in ARRIVED.items():
        ends = {known, *(days + 1 for days in spans if days >= known)}
        yield from (_until(f"{count}_{when}", by, days) for days in sorted(ends) for count in COUNTS)


def _trailing(spans: Sequence[int]) -> Iterator[str]:
    """Sums over the days before a row's own: a leg that landed a day late is known a day later."""
    for days in spans:
        known = [(when, last) for when, (_, last) in ARRIVED.items() if days >= last]
        for count in COUNTS:
            sums = (f"{count}_{when}_until_{last} - {count}_{when}_until_{days + 1}" for when, last in known)
            yield f"{' + '.join(sums)} as {count}_{days}"


def _histories(legs: DataFrame, calendar: DataFrame) -> Iterator[tuple[DataFrame, tuple[str, ...]]]:
    for groups in (TRAFFIC, ROUTES):
        finest = max(groups.values(), key=len)
        yield _rolled(legs, calendar.select("date"), groups, finest), ("date", *finest)


def _rolled(
    legs: DataFrame, dates: DataFrame, groups: Mapping[str, tuple[str, ...]], finest: tuple[str, ...]
) -> DataFrame:
    """History of every member of the finest group on every date, with that of the coarser groups it belongs to."""
    sums = _sums(legs, dates, finest, sorted({days for of in groups for days in HISTORY[of]})).repartition("date")
    totals = sums.selectExpr(
        "date", *finest, *(total for of, keys in groups.items() for total in _totals(of, keys, finest))
    )
    columns = [f"{of}_flights_0 as {of}_flights" for of in groups]
    columns += [column for of in groups for column in _history(of, f"{of}_")]
    if "origin" in groups:
        columns.append(f"{_mean('origin_missed_1', 'origin_flights_1')} as origin_missed_rate_1d")
    return totals.selectExpr("date", *finest, *columns)


def _sums(legs: DataFrame, dates: DataFrame, member: tuple[str, ...], spans: Sequence[int]) -> DataFrame:
    """What every member did on every date asked for, the day before, and over the days of each span."""
    daily = legs.groupBy("date", *member).agg(*(F.expr(f"sum({name}) as {name}") for name in DAILY))
    members = legs.select(*member).distinct()
    asked = members.crossJoin(F.broadcast(dates)).selectExpr("date", *member, *(f"0 as {name}" for name in DAILY))
    rows = daily.selectExpr("*", "false as asked").unionByName(asked.selectExpr("*", "true as asked"))
    planned = (_until("flights", member, days) for days in (0, 1, 2))
    missed = (_until("missed", member, days) for days in (1, 2))
    untils = rows.selectExpr("date", *member, "asked", *_untils(spans, member), *planned, *missed)
    return untils.where("asked").selectExpr(
        "date",
        *member,
        *_trailing(spans),
        "flights_until_0 - flights_until_1 as flights_0",
        *(f"{name}_until_1 - {name}_until_2 as {name}_1" for name in ("flights", "missed")),
    )


def _totals(of: str, keys: Sequence[str], finest: Sequence[str]) -> Iterator[str]:
    """A group's sums on a date: over the members of the finest group that belong to it."""
    names = ["flights_0", *(f"{count}_{days}" for days in HISTORY[of] for count in COUNTS)]
    names += ["missed_1", "flights_1"] if of == "origin" else []
    over = "" if keys == finest else f" over (partition by {', '.join(('date', *keys))})"
    yield from (f"sum({name}){over} as {of}_{name}" if over else f"{name} as {of}_{name}" for name in names)


def _history(of: str, prefix: str) -> Iterator[str]:
    """The features of a history, from sums whose names begin with the prefix."""
    for days in HISTORY[of]:
        n, late, delay = (f"{prefix}{count}_{days}" for count in COUNTS)
        yield f"{n} as {of}_arrivals_{days}d"
        yield f"{_rate(late, n, HISTORY_WEIGHT)} as {of}_late_rate_{days}d"
        yield f"{_mean(delay, n)} as {of}_dep_delay_{days}d"


def _rate(late: str, n: str, weight: int) -> str:
    return f"({late} + {PRIOR_RATE * weight!r}D) / ({n} + {weight})"


def _mean(total: str, n: str) -> str:
    return f"case when {n} > 0 then {total} / {n} end"


# The aircraft: its own history, and its legs before this one

BEFORE = tuple(f"leg_{back}" for back in range(1, LEGS_BACK + 1))


def _linked(legs: DataFrame) -> DataFrame:
    """Every leg with its aircraft's history and its three legs before, back to the day before."""
    kept = "date, scheduled_departure, scheduled_arrival, departed_at, arrived_at, dep_delay, arr_delay"
    order = "partition by aircraft order by scheduled_departure, flight_id"
    table = legs.selectExpr("*", "coalesce(tailnum, flight_id) as aircraft").selectExpr(
        *PLANNED,
        *(f"lag(struct({kept}), {back}) over ({order}) as {leg}" for back, leg in enumerate(BEFORE, start=1)),
        *_untils(HISTORY["tail"], ["aircraft"]),
    )
    recent = (
        f"case when {leg}.date >= date_sub(date, 1) and tailnum is not null then {leg} end as {leg}" for leg in BEFORE
    )
    sums = table.selectExpr(*PLANNED, *recent, *_trailing(HISTORY["tail"]))
    return sums.selectExpr(*PLANNED, *BEFORE, *_history("tail", ""))


def _aircraft_flags() -> Iterator[str]:
    """Whether each leg before had left, and had landed, as far as was known."""
    for leg in BEFORE:
        left = f"{leg}.date <= state_day and {leg}.departed_at <= as_of"
        yield f"{left} as {leg}_left"
        yield f"{left} and {leg}.arrived_at <= as_of as {leg}_landed"
    yield "leg_1.scheduled_departure <= as_of as leg_1_due"


def _aircraft() -> dict[str, str]:
    overdue = _between("leg_1.scheduled_departure", "as_of")
    slack = _between("leg_1.scheduled_arrival", "scheduled_departure")
    seen = (
        f"case when {leg}_landed then {leg}.arrived_at when {leg}_left then {leg}.departed_at end" for leg in BEFORE
    )
    return {
        "tail_earlier_legs": " + ".join(f"coalesce(cast({leg}.date = date as bigint), 0)" for leg in BEFORE),
        "tail_last_dep_delay": _newest("left", "dep_delay"),
        "tail_last_arr_delay": _newest("landed", "arr_delay"),
        "tail_hours_since": _between(f"greatest({', '.join(seen)})", "as_of", HOUR),
        "tail_previous_delay": _by_progress("leg_1.arr_delay", "leg_1.dep_delay", overdue, "null"),
        "tail_previous_progress": f"case when leg_1.date is not null then {_by_progress('3', '2', '1', '0')} end",
        "tail_slack": _by_progress(
            _between("leg_1.arrived_at", "scheduled_departure"),
            f"{slack} - leg_1.dep_delay",
            f"{slack} - {overdue}",
            slack,
        ),
    }


def _newest(flag: str, delay: str) -> str:
    return f"coalesce({', '.join(f'case when {leg}_{flag} then {leg}.{delay} end' for leg in BEFORE)})"


def _by_progress(landed: str, left: str, due: str, otherwise: str) -> str:
    """What holds by how far the leg before has come."""
    return (
        f"case when leg_1_landed then {landed} when leg_1_left then {left} when leg_1_due then {due}"
        f" else {otherwise} end"
    )


# Examples: one row per horizon and scheduled flight


def _asked(legs: DataFrame) -> DataFrame:
    as_of = f"if(horizon = 'nightly', unix_micros(day_start), unix_micros(scheduled_departure) - {AHEAD})"
    examples = legs.selectExpr("*", "explode(horizons) as horizon").drop("horizons")
    return (
        examples.selectExpr("*", f"{as_of} as micros")
        .selectExpr(
            "*",
            "timestamp_micros(micros) as as_of",
            f"floor(micros / {MINUTE}) as clock",
            f"floor(micros / {HOUR}) as hour_slot",
            f"{_data_day(_wall('timestamp_micros(micros - 1)'))} as state_day",
        )
        .drop("micros")
    )


# State: what the day had brought by then


def _states(legs: DataFrame, asked: DataFrame) -> Iterator[tuple[DataFrame, tuple[str, ...]]]:
    probes = asked.selectExpr("date", "state_day as day", "clock", "origin", "carrier", "dest")
    for of, keys in STATE_KEYS.items():
        yield _running(of, keys, legs, probes), ("date", "clock", *keys)


def _events(legs: DataFrame, of: str, keys: Sequence[str]) -> DataFrame:
    """One row an event: the data day, the minute from which it was known, and what it adds to that day's counts."""
    if of == "dest":
        return _event(legs, keys, "arrived", delay="arr_delay")
    planned = _event(legs.selectExpr("*", "scheduled_departure as planned_at"), keys, "planned")
    gone = "departed_day = date and planned_day = date"
    return planned.unionAll(_event(legs, keys, "departed", delay="dep_delay", gone=gone))


def _event(legs: DataFrame, keys: Sequence[str], what: str, delay: str = "0", gone: str = "false") -> DataFrame:
    days, happened = (0, 0) if delay == "0" else (1, 1)
    return legs.where(f"datediff({what}_day, date) between 0 and {days}").selectExpr(
        "date",
        f"{what}_day as day",
        f"ceil(unix_micros({what}_at) / {MINUTE}) as clock",
        *keys,
        "false as asked",
        f"{happened} as n",
        f"cast({delay} > {LATE} as bigint) as late",
        f"{delay} as delay",
        f"{1 - happened} as planned",
        f"cast({gone} as bigint) as gone",
    )


def _running(of: str, keys: Sequence[str], legs: DataFrame, probes: DataFrame) -> DataFrame:
    """Counts of a day up to each minute that an example asks for, and over the two hours before it."""
    measures = COUNTS if of == "dest" else (*COUNTS, "planned", "gone")
    minute = ("date", "day", "clock", *keys)
    known = _events(legs, of, keys).select(*minute, "asked", *measures)
    asked = probes.selectExpr(*minute, "true as asked", *(f"0 as {name}" for name in measures))
    # Grouped in place, by date: far fewer rows move from there.
    rows = (
        known.unionAll(asked)
        .groupBy(*minute)
        .agg(F.expr("max(asked) as asked"), *(F.expr(f"sum({name}) as {name}") for name in measures))
        .repartition("day")
    )
    until = f"over (partition by {', '.join(('day', *keys))} order by clock range between unbounded preceding and"
    counted = rows.selectExpr(
        "date",
        "clock",
        *keys,
        "asked",
        *(f"sum({name}) {until} current row) as {name}_today" for name in measures),
        *(f"coalesce(sum({name}) {until} {RECENT} preceding), 0) as {name}_before" for name in COUNTS),
    )
    return counted.where("asked").selectExpr("date", "clock", *keys, *_state(of))


def _state(of: str) -> Iterator[str]:
    event = "arrival" if of == "dest" else "departure"
    n, late, delay = (f"{count}_today" for count in COUNTS)
    n_2h, late_2h, delay_2h = (f"({count}_today - {count}_before)" for count in COUNTS)
    yield f"{n_2h} as {of}_{event}s_2h"
    yield f"{_mean(delay_2h, n_2h)} as {of}_{event}_delay_2h"
    yield f"{_rate(late_2h, n_2h, STATE_WEIGHT)} as {of}_{event}_late_rate_2h"
    yield f"{_mean(delay, n)} as {of}_{event}_delay_today"
    yield f"{_rate(late, n, STATE_WEIGHT)} as {of}_{event}_late_rate_today"
    if of != "dest":
        yield f"planned_today - gone_today as {of}_waiting"


# Weather


def _board(weather: DataFrame, calendar: DataFrame) -> tuple[DataFrame, tuple[str, ...]]:
    """What each airport's weather board shows, in every hour that an example may ask for: the newest that was known."""
    keys = ("date", "hour_slot", "origin")
    asked = f"transform(sequence({ASKED_HOURS[0]}, {ASKED_HOURS[1]}), h -> floor(unix_micros(day_start) / {HOUR}) + h)"
    hours = calendar.selectExpr("date", f"explode({asked}) as hour_slot")
    shown = weather.selectExpr("*", f"explode(sequence(0, {WEATHER_HOURS - 1})) as age")
    shown = shown.selectExpr("*", f"ceil(unix_micros(known_at) / {HOUR}) + age as hour_slot")
    rain = "cast(round(precipitation * 1000) as bigint)"
    at = "max(case when age = {} then pressure end)"
    aggregates = (
        f"max_by(struct(known_at, {', '.join(READINGS)}), known_at) as newest",
        f"sum(case when age < 3 then {rain} end) / 1000 as precipitation_3h",
        f"{at.format(0)} - {at.format(3)} as pressure_change_3h",
    )
    boards = shown.join(F.broadcast(hours), "hour_slot").groupBy(*keys).agg(*map(F.expr, aggregates))
    flat = boards.selectExpr(*keys, "newest.*", "precipitation_3h", "pressure_change_3h")
    city = "over (partition by date, hour_slot)"
    worst = (
        f"min(visibility) {city} as worst_visibility",
        f"max(precipitation_3h) {city} as worst_precipitation_3h",
    )
    return flat.selectExpr("*", *worst), keys


def _features() -> Iterator[str]:
    made = _aircraft() | {
        "day_of_week": "weekday(date) + 1",
        "day_of_year": "dayofyear(date)",
        "block_minutes": _between("scheduled_departure", "scheduled_arrival"),
        "weather_age": _between("known_at", "as_of"),
    }
    for column in FEATURES.columns:
        value = made.get(column.name, column.name)
        yield f"cast({value} as {column.kind.sql}) as {column.name}" if column.kind in CAST else value
