"""What a feature row of flight delay looks like, and which of its columns a model may see."""

from __future__ import annotations

from include.quality.contract import Column, Contract, Kind
from include.use_cases.flight_delay.contracts import AIRPORT, ORIGINS, WEATHER

CATEGORIES = ("carrier", "origin")
"""Inputs that are names, not amounts. A destination's name is left out: its rates say more with fewer values."""

HISTORY = {
    "city": (1,),
    "origin": (1,),
    "hour": (28,),
    "origin_hour": (7, 28),
    "carrier": (1, 7, 28),
    "dest": (1, 7, 28),
    "carrier_dest": (28,),
    "tail": (28,),
}
"""What delay history is kept of, and over how many data days before the flight's own."""

PRIOR_RATE = 0.22
"""Share of arrivals more than 15 minutes late that a rate leans to while it has seen few (2013, these airports)."""

STATE = ("city", "origin", "carrier", "dest")
"""Whose traffic is watched while the day goes on: all three airports, one, a carrier at one, arrivals at one."""

_EXAMPLE = (
    Column("flight_id", Kind.TEXT, note="{date}-{carrier}-{flight}-{origin}"),
    Column("date", Kind.DATE, note="local day of the scheduled departure"),
    Column("carrier", Kind.TEXT, pattern=r"[A-Z0-9]{2}"),
    Column("flight", Kind.INTEGER, minimum=1, maximum=9999),
    Column("tailnum", Kind.TEXT, required=False),
    Column("origin", Kind.TEXT, one_of=ORIGINS),
    Column("dest", Kind.TEXT, pattern=AIRPORT),
    Column("scheduled_departure", Kind.INSTANT),
    Column("as_of", Kind.INSTANT, note="nothing that became known later is in this row"),
)

_SCHEDULE = (
    Column("hour", Kind.INTEGER, minimum=0, maximum=23, note="local, of the scheduled departure"),
    Column("minute_of_day", Kind.INTEGER, minimum=0, maximum=1439, note="local, of the scheduled departure"),
    Column("day_of_week", Kind.INTEGER, minimum=1, maximum=7, note="Monday is 1"),
    Column("day_of_year", Kind.INTEGER, minimum=1, maximum=366),
    Column("days_to_holiday", Kind.INTEGER, minimum=-30, maximum=30, note="to the nearest; negative: it is past"),
    Column("distance", Kind.NUMBER, minimum=1, maximum=12_000, note="miles"),
    Column("block_minutes", Kind.INTEGER, minimum=1, maximum=1_440, note="scheduled, gate to gate"),
)


def _flights(of: str) -> Column:
    return Column(f"{of}_flights", Kind.INTEGER, minimum=1, maximum=10_000, note=f"{of}: scheduled that date")


def _history(of: str, days: int) -> tuple[Column, ...]:
    span = f"{of}, {days} data days before this flight's"
    return (
        Column(f"{of}_arrivals_{days}d", Kind.INTEGER, minimum=0, maximum=1_000_000, note=f"known: {span}"),
        Column(f"{of}_late_rate_{days}d", Kind.NUMBER, minimum=0, maximum=1, note=f"arrivals > 15 min late: {span}"),
        Column(f"{of}_dep_delay_{days}d", Kind.NUMBER, False, minimum=-180, maximum=3_000, note=f"mean min: {span}"),
    )


def _state(of: str) -> tuple[Column, ...]:
    event = "arrival" if of == "dest" else "departure"
    late = "scheduled till now less departed; negative: more left early than wait"
    waiting = Column(f"{of}_waiting", Kind.INTEGER, minimum=-5_000, maximum=5_000, note=late)
    return (
        Column(f"{of}_{event}s_2h", Kind.INTEGER, minimum=0, maximum=5_000, note="in the last two hours"),
        Column(f"{of}_{event}_delay_2h", Kind.NUMBER, False, minimum=-240, maximum=3_000, note="mean minutes"),
        Column(f"{of}_{event}_late_rate_2h", Kind.NUMBER, minimum=0, maximum=1, note="> 15 min late"),
        Column(f"{of}_{event}_delay_today", Kind.NUMBER, False, minimum=-240, maximum=3_000, note="mean minutes"),
        Column(f"{of}_{event}_late_rate_today", Kind.NUMBER, minimum=0, maximum=1, note="> 15 min late"),
        *(() if of == "dest" else (waiting,)),
    )


_AIRCRAFT = (
    Column("tail_earlier_legs", Kind.INTEGER, minimum=0, maximum=3, note="scheduled before this one, same date"),
    Column("tail_last_dep_delay", Kind.NUMBER, False, minimum=-180, maximum=3_000, note="minutes"),
    Column("tail_last_arr_delay", Kind.NUMBER, False, minimum=-240, maximum=3_000, note="minutes"),
    Column("tail_hours_since", Kind.NUMBER, False, minimum=0, maximum=96, note="since its last known event"),
    Column("tail_previous_delay", Kind.NUMBER, False, minimum=-240, maximum=5_000, note="of its leg before, so far"),
    Column("tail_previous_progress", Kind.INTEGER, False, 0, 3, note="0 not due, 1 overdue, 2 departed, 3 arrived"),
    Column("tail_slack", Kind.NUMBER, False, minimum=-10_000, maximum=10_000, note="minutes from that leg's arrival"),
)

_WEATHER = (
    Column("weather_age", Kind.NUMBER, False, minimum=0, maximum=360, note="minutes since the observation was known"),
    *WEATHER,
    Column("precipitation_3h", Kind.NUMBER, False, minimum=0, maximum=30, note="inches"),
    Column("pressure_change_3h", Kind.NUMBER, False, minimum=-100, maximum=100, note="millibars"),
    Column("worst_visibility", Kind.NUMBER, False, minimum=0, maximum=20, note="miles; of the three airports"),
    Column("worst_precipitation_3h", Kind.NUMBER, False, minimum=0, maximum=30, note="inches; of the three airports"),
)

FEATURES = Contract(
    "features",
    columns=(
        *_EXAMPLE,
        *_SCHEDULE,
        *(_flights(of) for of in HISTORY if of != "tail"),
        *(column for of, spans in HISTORY.items() for days in spans for column in _history(of, days)),
        Column(
            "origin_missed_rate_1d", Kind.NUMBER, False, minimum=0, maximum=1, note="scheduled, not departed: yesterday"
        ),
        *(column for of in STATE for column in _state(of)),
        *_AIRCRAFT,
        *_WEATHER,
    ),
    key=("flight_id",),
    order=("scheduled_departure", "flight_id"),
)

INPUTS = CATEGORIES + tuple(column.name for column in FEATURES.columns[len(_EXAMPLE) :])
"""The columns a model may see, categories first."""
