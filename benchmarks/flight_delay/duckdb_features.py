"""The features of flight delay in plain DuckDB SQL: an oracle for the Spark job, and its yardstick."""

# ruff: noqa: S608 (the statements are put together from names in this file)

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from datetime import date

import duckdb
import pyarrow as pa

from include.use_cases.flight_delay.feature_contract import HISTORY, PRIOR_RATE, STATE
from include.use_cases.flight_delay.holidays import days_to_holiday
from include.use_cases.flight_delay.spec import SPEC

KEYS = {
    "city": "",
    "origin": "origin",
    "carrier": "carrier",
    "dest": "dest",
    "hour": "hour",
    "origin_hour": "origin, hour",
    "carrier_dest": "carrier, dest",
    "tail": "tailnum",
}
"""The columns that tell one member of a history from another."""

STATE_KEYS = {"city": "", "origin": "origin", "carrier": "origin, carrier", "dest": "dest"}

LEGS = """
create table legs as
select s.*, f.departed_at, f.arrived_at, f.dep_delay::bigint as dep_delay, f.arr_delay::bigint as arr_delay,
       hour(timezone('America/New_York', s.scheduled_departure)) as hour,
       minute(timezone('America/New_York', s.scheduled_departure)) as minute,
       (timezone('America/New_York', s.scheduled_departure) - interval 1 hour)::date as planned_day,
       (timezone('America/New_York', f.departed_at) - interval 1 hour)::date as departed_day,
       (timezone('America/New_York', f.arrived_at) - interval 1 hour)::date as arrived_day,
       (epoch(s.scheduled_departure) / 60)::bigint as planned_clock,
       ceil(epoch(f.departed_at) / 60)::bigint as departed_clock,
       ceil(epoch(f.arrived_at) / 60)::bigint as arrived_clock
from schedule s left join flights f on s.date = f.date and s.flight_id = f.flight_id
"""

LINKED = """
create table linked as
select *, {columns}
from legs
window aircraft as (partition by tailnum order by scheduled_departure, flight_id)
"""

ROWS = """
create table examples as
select *, (timezone('America/New_York', as_of - interval 1 microsecond) - interval 1 hour)::date as state_day,
       floor(epoch(as_of) / 60)::bigint as clock, row_number() over () as number
from (
    select 'two_hours' as horizon, l.*, scheduled_departure - interval 2 hour as as_of
    from linked l where date in (select date from wanted where horizon = 'two_hours')
    union all
    select 'nightly' as horizon, l.*, days.day_start as as_of
    from linked l join days using (date) where date in (select date from wanted where horizon = 'nightly')
)
"""

DAILY = """
create table daily_{of} as
select {keys} date, count(*) as flights,
       count(*) filter (departed_day is null or departed_day > date) as missed,
       {measures}
from legs {where} group by {keys} date
"""

HISTORY_OF = """
create table history_{of} as
select {keys} date, flights, {columns}
from daily_{of}
window {windows}
"""

EVENTS = """
create table events as
select date, departed_day as day, departed_clock as clock, origin, carrier, dest, 'departure' as what,
       dep_delay as delay, (departed_day = date and planned_day = date)::int as today
from legs where departed_day - date between 0 and 1
union all
select date, arrived_day, arrived_clock, origin, carrier, dest, 'arrival', arr_delay, 0
from legs where arrived_day - date between 0 and 1
union all
select date, planned_day, planned_clock, origin, carrier, dest, 'plan', null, 0 from legs where planned_day = date
"""

RUNNING = """
create table running_{of} as
select {keys} day, clock, sum(n) over running as n, sum(delay) over running as delay, sum(late) over running as late,
       sum(planned) over running as planned, sum(gone) over running as gone
from (
    select {keys} day, clock, count(*) filter (what = '{what}') as n,
           coalesce(sum(delay) filter (what = '{what}'), 0) as delay,
           count(*) filter (what = '{what}' and delay > 15) as late,
           count(*) filter (what = 'plan') as planned, sum(today) as gone
    from events group by {keys} day, clock
)
window running as (partition by {keys} day order by clock)
"""

STATE_OF = """
create table state_{of} as
with asked as (select number, {keys} state_day, clock from examples)
select e.number, s.n, s.delay, s.late, s.planned, s.gone,
       b.n as n_before, b.delay as delay_before, b.late as late_before
from asked e
asof left join running_{of} s on {same_s} s.day = e.state_day and s.clock <= e.clock
asof left join running_{of} b on {same_b} b.day = e.state_day and b.clock <= e.clock - 120
"""
"""Few columns for each example: an ASOF join sorts whole rows, so it is done before the rows are wide."""

WEATHER = """
create table board as
with slots as (select *, ceil(epoch(known_at) / 3600)::bigint as slot from weather),
     hours as (select distinct floor(clock / 60)::bigint as hour_slot from examples),
     probes as (select hour_slot, origin as place from hours, (select distinct origin from slots)),
     rain as (select place, hour_slot, sum(round(precipitation * 1000)::bigint) / 1000 as precipitation_3h
              from probes join (select *, unnest([slot, slot + 1, slot + 2]) as at from slots) r
              on r.origin = place and r.at = hour_slot group by all)
select p.place, p.hour_slot, o.*, rain.precipitation_3h, n.pressure - b.pressure as pressure_change_3h
from probes p asof join slots o on o.origin = p.place and o.slot <= p.hour_slot
left join rain on rain.place = p.place and rain.hour_slot = p.hour_slot
left join slots n on n.origin = p.place and n.slot = p.hour_slot
left join slots b on b.origin = p.place and b.slot = p.hour_slot - 3
where o.slot > p.hour_slot - 6
"""


def _rate(late: str, count: str, weight: int) -> str:
    return f"({late} + {PRIOR_RATE * weight!r}) / ({count} + {weight})"


def _history(of: str, spans: tuple[int, ...]) -> Iterator[str]:
    keys = f"{KEYS[of]}," if KEYS[of] else ""
    measures = ", ".join(
        f"count(*) filter (arrived_day - date {when}) as n_{name},"
        f"count(*) filter (arrived_day - date {when} and arr_delay > 15) as late_{name},"
        f"coalesce(sum(dep_delay) filter (arrived_day - date {when}), 0) as delay_{name}"
        for name, when in (("prompt", "<= 0"), ("next", "= 1"))
    )
    where = "where tailnum is not null" if of == "tail" else ""
    yield DAILY.format(of=of, keys=keys, measures=measures, where=where)
    partition = f"partition by {KEYS[of]}" if KEYS[of] else ""
    windows, columns = [], []
    for days in spans:
        for name, end in (("prompt", 1), ("next", 2)):
            if days >= end:
                windows.append(
                    f"{name}_{days} as ({partition} order by date"
                    f" range between interval {days} days preceding and interval {end} days preceding)"
                )
        for measure in ("n", "late", "delay"):
            next_day = f"+ coalesce(sum({measure}_next) over next_{days}, 0)" if days >= 2 else ""
            columns.append(f"coalesce(sum({measure}_prompt) over prompt_{days}, 0) {next_day} as {measure}_{days}")
    columns.append("sum(missed) over prompt_1 as missed_1" if 1 in spans else "null as missed_1")
    columns.append("sum(flights) over prompt_1 as flights_1" if 1 in spans else "null as flights_1")
    yield HISTORY_OF.format(of=of, keys=keys, columns=", ".join(columns), windows=", ".join(windows))


def _states(of: str) -> Iterator[str]:
    keys = f"{STATE_KEYS[of]}," if STATE_KEYS[of] else ""
    yield RUNNING.format(of=of, keys=keys, what="arrival" if of == "dest" else "departure")
    same = {
        f"same_{side}": "".join(f"{side}.{key} = e.{key} and " for key in STATE_KEYS[of].split(", ") if key)
        for side in ("s", "b")
    }
    yield STATE_OF.format(of=of, keys=keys, **same)


def _linked() -> str:
    legs = ("date", "scheduled_departure", "scheduled_arrival", "departed_at", "arrived_at", "dep_delay", "arr_delay")
    columns = (
        f"case when tailnum is not null and lag(date, {back}) over aircraft >= date - 1"
        f" then lag({name}, {back}) over aircraft end as {name}_{back}"
        for back in (1, 2, 3)
        for name in legs
    )
    return LINKED.format(columns=", ".join(columns))


def _history_columns() -> Iterator[str]:
    for of, spans in HISTORY.items():
        if of != "tail":
            yield f"h_{of}.flights as {of}_flights"
        for days in spans:
            n, late, delay = (f"coalesce(h_{of}.{measure}_{days}, 0)" for measure in ("n", "late", "delay"))
            yield f"{n} as {of}_arrivals_{days}d"
            yield f"{_rate(late, n, 20)} as {of}_late_rate_{days}d"
            yield f"case when {n} > 0 then {delay} / {n} end as {of}_dep_delay_{days}d"
    yield "case when h_origin.flights_1 > 0 then h_origin.missed_1 / h_origin.flights_1 end as origin_missed_rate_1d"


def _state_columns() -> Iterator[str]:
    for of in STATE:
        event = "arrival" if of == "dest" else "departure"
        total = {name: f"coalesce(s_{of}.{name}, 0)" for name in ("n", "delay", "late", "planned", "gone")}
        recent = {name: f"({total[name]} - coalesce(s_{of}.{name}_before, 0))" for name in ("n", "delay", "late")}
        yield f"{recent['n']} as {of}_{event}s_2h"
        yield f"case when {recent['n']} > 0 then {recent['delay']} / {recent['n']} end as {of}_{event}_delay_2h"
        yield f"{_rate(recent['late'], recent['n'], 5)} as {of}_{event}_late_rate_2h"
        yield f"case when {total['n']} > 0 then {total['delay']} / {total['n']} end as {of}_{event}_delay_today"
        yield f"{_rate(total['late'], total['n'], 5)} as {of}_{event}_late_rate_today"
        if of != "dest":
            yield f"{total['planned']} - {total['gone']} as {of}_waiting"


def _aircraft_columns() -> Iterator[str]:
    departed = {b: f"(e.date_{b} <= e.state_day and e.departed_at_{b} <= e.as_of)" for b in (1, 2, 3)}
    arrived = {b: f"({departed[b]} and e.arrived_at_{b} <= e.as_of)" for b in (1, 2, 3)}
    yield " + ".join(f"coalesce((e.date_{b} = e.date)::int, 0)" for b in (1, 2, 3)) + " as tail_earlier_legs"
    yield (
        "coalesce("
        + ", ".join(f"case when {departed[b]} then e.dep_delay_{b} end" for b in (1, 2, 3))
        + (")::double as tail_last_dep_delay")
    )
    yield (
        "coalesce("
        + ", ".join(f"case when {arrived[b]} then e.arr_delay_{b} end" for b in (1, 2, 3))
        + (")::double as tail_last_arr_delay")
    )
    newest = ", ".join(
        f"case when {arrived[b]} then e.arrived_at_{b} when {departed[b]} then e.departed_at_{b} end" for b in (1, 2, 3)
    )
    yield f"(epoch_us(e.as_of) - epoch_us(greatest({newest}))) / 3600000000 as tail_hours_since"
    overdue = "(e.scheduled_departure_1 <= e.as_of)"
    minutes = "((epoch_us(e.as_of) - epoch_us(e.scheduled_departure_1)) / 60000000)"
    yield (
        f"case when e.date_1 is null then null when {arrived[1]} then 3 when {departed[1]} then 2"
        f" when {overdue} then 1 else 0 end as tail_previous_progress"
    )
    yield (
        f"case when {arrived[1]} then e.arr_delay_1 when {departed[1]} then e.dep_delay_1"
        f" when {overdue} then {minutes} end::double as tail_previous_delay"
    )
    planned = "((epoch_us(e.scheduled_departure) - epoch_us(e.scheduled_arrival_1)) / 60000000)"
    yield (
        f"(case when {arrived[1]} then (epoch_us(e.scheduled_departure) - epoch_us(e.arrived_at_1)) / 60000000"
        f" when {departed[1]} then {planned} - e.dep_delay_1 when {overdue} then {planned} - {minutes}"
        f" else {planned} end)::double as tail_slack"
    )


def _weather_columns() -> Iterator[str]:
    yield "(epoch_us(e.as_of) - epoch_us(w.known_at)) / 60000000 as weather_age"
    yield from (
        f"w.{name}"
        for name in [
            "temperature",
            "dew_point",
            "humidity",
            "wind_direction",
            "wind_speed",
            "wind_gust",
            "precipitation",
            "pressure",
            "visibility",
            "precipitation_3h",
            "pressure_change_3h",
        ]
    )
    yield "c.worst_visibility"
    yield "c.worst_precipitation_3h"


def _joins() -> Iterator[str]:
    for of in HISTORY:
        on = " and ".join(f"h_{of}.{key} = e.{key}" for key in (*KEYS[of].split(", "), "date") if key)
        yield f"left join history_{of} h_{of} on {on}"
    for of in STATE:
        yield f"join state_{of} s_{of} on s_{of}.number = e.number"
    yield "left join board w on w.place = e.origin and w.hour_slot = floor(e.clock / 60)::bigint"
    yield (
        "left join (select hour_slot, min(visibility) as worst_visibility,"
        " max(precipitation_3h) as worst_precipitation_3h from board group by all) c"
        " on c.hour_slot = floor(e.clock / 60)::bigint"
    )
    yield "left join days k on k.date = e.date"


def compute(paths: Mapping[str, str], wanted: Mapping[str, Sequence[date]], threads: int = 2) -> pa.Table:
    """The feature rows of the wanted dates of each horizon, from one Parquet file (or pattern) a topic."""
    with duckdb.connect() as connection:
        prepare(connection, paths, wanted, threads)
        return connection.sql(final_query()).to_arrow_table()


def prepare(
    connection: duckdb.DuckDBPyConnection,
    paths: Mapping[str, str],
    wanted: Mapping[str, Sequence[date]],
    threads: int = 2,
) -> None:
    """Make every table the final query reads."""
    connection.execute(f"set TimeZone = 'UTC'; set threads = {threads}")
    for topic, path in paths.items():
        connection.execute(f"create view {topic} as select * from read_parquet('{path}')")
    days = sorted({day for dates in wanted.values() for day in dates})
    calendar = pa.table(  # noqa: F841 (read by name)
        {
            "date": pa.array(days, pa.date32()),
            "day_start": pa.array([SPEC.day_start(day) for day in days], pa.timestamp("us", tz="UTC")),
            "days_to_holiday": pa.array([days_to_holiday(day) for day in days], pa.int64()),
        }
    )
    asked = [(name, day) for name, dates in wanted.items() for day in dates]
    asked_of = pa.table(  # noqa: F841 (read by name)
        {"horizon": [name for name, _ in asked], "date": pa.array([day for _, day in asked], pa.date32())}
    )
    connection.execute("create table days as from calendar; create table wanted as from asked_of")
    statements = [LEGS, _linked(), ROWS, EVENTS, WEATHER]
    statements += [statement for of, spans in HISTORY.items() for statement in _history(of, spans)]
    statements += [statement for of in STATE for statement in _states(of)]
    for statement in statements:
        connection.execute(statement)


def final_query() -> str:
    """The query over the tables that `prepare` makes: one row per horizon and scheduled flight."""
    columns = (
        "e.horizon, e.flight_id, e.date, e.carrier, e.flight, e.tailnum, e.origin, e.dest",
        "e.scheduled_departure, e.as_of",
        "e.hour, e.hour * 60 + e.minute as minute_of_day, isodow(e.date) as day_of_week",
        "dayofyear(e.date) as day_of_year, k.days_to_holiday, e.distance",
        "((epoch_us(e.scheduled_arrival) - epoch_us(e.scheduled_departure)) / 60000000)::bigint as block_minutes",
        *_history_columns(),
        *_state_columns(),
        *_aircraft_columns(),
        *_weather_columns(),
    )
    return f"select {', '.join(columns)} from examples e {' '.join(_joins())}"
