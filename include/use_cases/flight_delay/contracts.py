"""What a raw record of each topic must look like."""

from __future__ import annotations

from datetime import timedelta

from include.quality.contract import Column, Contract, Freshness, Kind, Reference

ORIGINS = ("EWR", "JFK", "LGA")
AIRPORT = r"[A-Z]{3}"

_FLIGHT = (
    Column("flight_id", Kind.TEXT, note="{date}-{carrier}-{flight}-{origin}"),
    Column("date", Kind.DATE, note="local day of the scheduled departure"),
    Column("carrier", Kind.TEXT, pattern=r"[A-Z0-9]{2}"),
    Column("flight", Kind.INTEGER, minimum=1, maximum=9999),
    Column("tailnum", Kind.TEXT, required=False, note="unknown for some cancelled flights"),
    Column("origin", Kind.TEXT, one_of=ORIGINS),
    Column("dest", Kind.TEXT, pattern=AIRPORT),
    Column("scheduled_departure", Kind.INSTANT),
    Column("scheduled_arrival", Kind.INSTANT),
    Column("distance", Kind.NUMBER, minimum=1, maximum=12_000, note="miles"),
)

WEATHER = (
    Column("temperature", Kind.NUMBER, False, minimum=-60, maximum=130, note="°F"),
    Column("dew_point", Kind.NUMBER, False, minimum=-60, maximum=100, note="°F"),
    Column("humidity", Kind.NUMBER, False, minimum=0, maximum=100, note="%"),
    Column("wind_direction", Kind.NUMBER, False, minimum=0, maximum=360, note="degrees"),
    Column("wind_speed", Kind.NUMBER, False, minimum=0, maximum=150, note="mph"),
    Column("wind_gust", Kind.NUMBER, False, minimum=0, maximum=200, note="mph; none: no gusts"),
    Column("precipitation", Kind.NUMBER, False, minimum=0, maximum=10, note="inches"),
    Column("pressure", Kind.NUMBER, False, minimum=870, maximum=1085, note="millibars"),
    Column("visibility", Kind.NUMBER, False, minimum=0, maximum=20, note="miles"),
)
"""What a station measures. All of it may be missing."""

RAW = {
    "schedule": Contract(
        "schedule",
        columns=_FLIGHT,
        key=("flight_id",),
        order=("scheduled_departure", "flight_id"),
    ),
    "flights": Contract(
        "flights",
        columns=(
            *_FLIGHT,
            Column("departed_at", Kind.INSTANT, required=False, note="none: cancelled"),
            Column("dep_delay", Kind.NUMBER, required=False, minimum=-180, maximum=3_000, note="minutes"),
            Column("arrived_at", Kind.INSTANT, required=False, note="none: cancelled or diverted"),
            Column("arr_delay", Kind.NUMBER, required=False, minimum=-240, maximum=3_000, note="minutes"),
        ),
        key=("flight_id",),
        order=("scheduled_departure", "flight_id"),
        max_nulls={"arr_delay": 0.8},  # in the blizzard of 9 February 2013 57 % did not arrive
        references=(
            Reference("origin", "weather", "origin"),
            Reference("flight_id", "schedule", "flight_id", min_share=0.9),
        ),
    ),
    "weather": Contract(
        "weather",
        columns=(
            Column("origin", Kind.TEXT, one_of=ORIGINS),
            Column("observed_at", Kind.INSTANT, note="the hour the observation stands for"),
            Column("known_at", Kind.INSTANT, note="when that hour is over: nobody could have used it before"),
            *WEATHER,
        ),
        key=("origin", "observed_at"),
        day="observed_at",
        order=("observed_at", "origin"),
        max_nulls={"temperature": 0.5, "visibility": 0.5},
        # On three days of 2013 the last five or six hours were never observed.
        freshness=Freshness("known_at", warn_after=timedelta(hours=3), fail_after=timedelta(hours=12)),
    ),
}
