"""Published batch predictions, held in memory for lookups; new publications are followed, never waited for."""

from __future__ import annotations

import hashlib
import logging
import sys
import threading
import time
from bisect import bisect_left
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta
from itertools import groupby
from pathlib import PurePosixPath
from typing import Annotated, Any

import msgspec
from pydantic import Field

from formats.lookup import FOLDER
from formats.manifest import MANIFEST, Manifest
from formats.partition import day_folder, day_of
from formats.portable_model import ServingError
from serving.errors import FetchError, NotFoundError, NotYetError
from serving.lookups.lake import PublishedLake, open_lake
from serving.settings import ServingSettings
from stores.store import Store, open_store

INTRADAY = "intraday"
MANIFEST_BYTES = 2**20
LOOKUP_BYTES = 64 * 2**20
"""A day of 1,000 flights has 150 kB."""
OUTDATED_SECONDS = 60
"""Published predictions are stale when the lake could not be read for this long, and for at least six polls."""
PATIENCE_SECONDS = 30.0
"""How long one reading of a bucket is tried."""

log = logging.getLogger("serving")

Instant = Annotated[datetime, msgspec.Meta(tz=True)]
Probability = Annotated[float, msgspec.Meta(ge=0, le=1), Field(ge=0, le=1, examples=[0.18])]


@dataclass(frozen=True, slots=True)
class Location:
    """An airport. Latitude and longitude in degrees; `time_zone` is an IANA name, none if it is not known."""

    code: Annotated[str, Field(examples=["JFK"])]
    name: Annotated[str, Field(examples=["John F Kennedy Intl"])]
    latitude: Annotated[float, msgspec.Meta(ge=-90, le=90), Field(ge=-90, le=90, examples=[40.64])]
    longitude: Annotated[float, msgspec.Meta(ge=-180, le=180), Field(ge=-180, le=180, examples=[-73.78])]
    time_zone: Annotated[str | None, Field(examples=["America/New_York"])] = None


@dataclass(frozen=True, slots=True)
class Reading:
    """A weather station's reading, and when it became known (UTC). A value not measured is null."""

    location: Annotated[str, Field(examples=["JFK"])]
    known_at: Instant
    values: Annotated[dict[str, float | None], Field(examples=[{"temperature": 61.0, "wind_speed": 10.4}])]


@dataclass(frozen=True, slots=True)
class FlightDelay:
    """The probability that a flight arrives more than 15 minutes late.

    It was made by `model_version` from what was known at `as_of`, with the weather known at `sensor_at` (all UTC).
    """

    flight_id: Annotated[str, Field(examples=["2013-10-02-AA-1-JFK"])]
    carrier: Annotated[str, Field(examples=["AA"])]
    flight: Annotated[int, Field(examples=[1])]
    tailnum: Annotated[str | None, Field(examples=["N338AA"])]
    origin: Annotated[str, Field(examples=["JFK"])]
    dest: Annotated[str, Field(examples=["LAX"])]
    scheduled_departure: Instant
    as_of: Instant
    sensor_at: Instant | None
    probability: Probability
    model_version: Annotated[str, Field(examples=["7"])]
    horizon: Annotated[str, Field(examples=["two_hours"])]


@dataclass(frozen=True)
class Snapshot:
    """All that was published of the newest days.

    `flights` has each flight's predictions, oldest as_of first; `departures` an airport's flights of a data day, newest
    prediction each, by departure; `readings` a location's, oldest first.
    """

    flights: Mapping[str, Sequence[FlightDelay]] = field(default_factory=dict)
    departures: Mapping[str, Mapping[date, Sequence[FlightDelay]]] = field(default_factory=dict)
    locations: Mapping[str, Location] = field(default_factory=dict)
    readings: Mapping[str, Sequence[Reading]] = field(default_factory=dict)
    days: Sequence[date] = ()

    def reading(self, location: str, known_at: datetime | None) -> Reading | None:
        """A location's reading of exactly that moment."""
        readings = self.readings.get(location, ())
        place = bisect_left(readings, known_at, key=lambda one: one.known_at) if known_at else len(readings)
        return readings[place] if place < len(readings) and readings[place].known_at == known_at else None


class _Columns(msgspec.Struct):
    flight_id: list[str]
    carrier: list[str]
    flight: list[int]
    tailnum: list[str | None]
    origin: list[str]
    dest: list[str]
    scheduled_departure: list[Instant]
    as_of: list[Instant]
    sensor_at: list[Instant | None]
    probability: list[Probability]
    model_version: list[str]


class _Locations(msgspec.Struct):
    code: list[str]
    name: list[str]
    latitude: list[float]
    longitude: list[float]
    time_zone: list[str | None]


class _Lookup(msgspec.Struct):
    predictions: _Columns
    locations: _Locations
    readings: dict[str, list[Any]]


@dataclass(frozen=True)
class _Part:
    """One partition, read: its manifest's tag when that was, and what it holds."""

    tag: str
    flights: Sequence[FlightDelay] = ()
    locations: Sequence[Location] = ()
    readings: Sequence[Reading] = ()


class Published:
    """What the lake has published, newest days only; a snapshot is replaced as a whole, by one assignment."""

    def __init__(self, settings: ServingSettings, clock: Callable[[], float] = time.monotonic) -> None:
        self._settings = settings
        self._clock = clock
        self._lake: Store | None = None
        self._parts: dict[str, _Part] = {}
        self._since: date | None = None
        self._snapshot: Snapshot | None = None
        self._read_at = clock()
        self._trouble: set[str] = set()
        self._stopped = threading.Event()

    @property
    def snapshot(self) -> Snapshot:
        """What is published; `NotFoundError` without a lake, `NotYetError` before it could be read."""
        if self._snapshot is not None:
            return self._snapshot
        if self._settings.lake is None:
            raise NotFoundError("nothing is published here: SERVING_LAKE is not set")
        raise NotYetError("published predictions could not be read yet; ask again", retry_after=1)

    def newest(self, flight_id: str) -> FlightDelay | None:
        """A flight's newest prediction, if there is any."""
        found = self._snapshot.flights.get(flight_id) if self._snapshot else None
        return found[-1] if found else None

    @property
    def outdated(self) -> float | None:
        """Seconds since the lake could last be read; None while all is well."""
        age = self._clock() - self._read_at
        return age if age > max(OUTDATED_SECONDS, 6 * self._settings.published_poll_seconds) else None

    async def start(self) -> None:
        """Follow the lake from now on, without waiting for the first reading."""
        if self._settings.lake is not None:
            # A thread of its own: a lake that hangs must not hold up the process's end.
            threading.Thread(target=self._follow, name="published", daemon=True).start()

    async def stop(self) -> None:
        """Stop following it."""
        self._stopped.set()

    def _follow(self) -> None:
        while not self._stopped.is_set():
            try:
                self.read()
            except Exception as error:
                log.exception("published predictions stay as they are: %s", type(error).__name__)
            self._stopped.wait(self._settings.published_poll_seconds)

    def read(self) -> None:
        """Read what is new. An unreadable partition is logged once, and its earlier content stays."""
        trouble: set[str] = set()
        try:
            if self._lake is None:
                self._lake = open_store(
                    self._settings.lake or "",
                    endpoint=self._settings.s3_endpoint,
                    failure=FetchError,
                    patience=PATIENCE_SECONDS,
                )
            manifests = self._manifests(self._lake)
            if self._parts and not manifests:
                # Days are withdrawn one by one; if all are gone, the disk is missing. The next time, all days count.
                self._since = None
                raise FetchError(f"{self._settings.lake}: all that was published has gone")
            found = self._newest_days(manifests)
            parts = {name: self._part(self._lake, name, tag, trouble) for name, tag in found.items()}
        except ServingError as error:
            trouble.add(f"published predictions stay as they are: {error}")
        else:
            self._read_at = self._clock()
            read = {name: part for name, part in parts.items() if part is not None}
            if self._snapshot is None or read != self._parts:
                self._parts = read
                self._snapshot = _snapshot(read)
                log.info("published: %d flights of %d days", len(self._snapshot.flights), len(self._snapshot.days))
        for line in sorted(trouble - self._trouble):
            log.warning("%s", line)
        self._trouble = trouble

    def _manifests(self, lake: Store) -> dict[str, str]:
        top = f"{self._settings.use_case}/{FOLDER}"
        after = day_folder(self._since) if self._since else ""
        # A moment's name is UTC, its day local: one day more is looked at.
        after_moment = f"moment={self._since - timedelta(days=1):%Y%m%d}" if self._since else ""
        found: dict[str, str] = {}
        for name in lake.folders(top):
            if name != INTRADAY:
                found |= _tags(lake, f"{top}/{name}", after)
                continue
            for horizon in lake.folders(f"{top}/{INTRADAY}"):
                found |= _tags(lake, f"{top}/{INTRADAY}/{horizon}", after_moment)
        return found

    def _newest_days(self, manifests: Mapping[str, str]) -> dict[str, str]:
        """The manifests of the newest days; from now on older ones are not even listed."""
        by_name = {name: day for name in manifests if (day := _day(name))}
        days = sorted(set(by_name.values()))[-self._settings.published_days :]
        self._since = days[0] if len(days) == self._settings.published_days else None
        return {name: manifests[name] for name, day in by_name.items() if day in days}

    def _part(self, lake: Store, name: str, tag: str, trouble: set[str]) -> _Part | None:
        before = self._parts.get(name)
        if before is not None and before.tag == tag:
            return before
        try:
            return _read(lake, name, tag)
        except ServingError as error:
            trouble.add(f"{PurePosixPath(name).parent}: {error}")
            return before


def _tags(lake: Store, folder: str, after: str) -> dict[str, str]:
    return {name: tag for name, tag in lake.tags(folder, after) if name.endswith(f"/{MANIFEST}")}


def _read(lake: Store, name: str, tag: str) -> _Part:
    """A partition's lookup; `FetchError` if it does not match its manifest."""
    try:
        manifest = msgspec.json.decode(lake.read(name, MANIFEST_BYTES), type=Manifest)
        (file,) = manifest.files
        content = lake.read(f"{PurePosixPath(name).parent}/{file.name}", min(file.size, LOOKUP_BYTES))
        if hashlib.sha256(content).hexdigest() != file.sha256:
            raise FetchError(f"{file.name} is damaged (hash differs); publish it again with --force")
        lookup = msgspec.json.decode(content, type=_Lookup)
        return _Part(tag, _flights(lookup.predictions, _horizon(name)), _locations(lookup.locations), _readings(lookup))
    except (msgspec.MsgspecError, ValueError, KeyError) as error:
        raise FetchError(f"the lookup cannot be understood: {error}; publish it again with --force") from None


def _flights(columns: _Columns, horizon: str) -> list[FlightDelay]:
    # These few texts stand in every row: one copy of each is held.
    for names in (columns.carrier, columns.origin, columns.dest, columns.model_version):
        names[:] = map(sys.intern, names)
    horizons = [horizon] * len(columns.flight_id)
    return [FlightDelay(*row) for row in zip(*msgspec.structs.astuple(columns), horizons, strict=True)]


def _locations(columns: _Locations) -> list[Location]:
    return [Location(*row) for row in zip(*msgspec.structs.astuple(columns), strict=True)]


def _readings(lookup: _Lookup) -> list[Reading]:
    columns = dict(lookup.readings)
    places, instants = columns.pop("location"), columns.pop("known_at")
    rows = zip(*columns.values(), strict=True) if columns else [()] * len(places)
    readings = [
        {"location": place, "known_at": known, "values": dict(zip(columns, row, strict=True))}
        for place, known, row in zip(places, instants, rows, strict=True)
    ]
    return msgspec.convert(readings, list[Reading])


def _day(name: str) -> date | None:
    return day_of(name.rpartition("/")[0])


def _horizon(name: str) -> str:
    parts = PurePosixPath(name).parts
    return sys.intern(parts[parts.index(FOLDER) + (2 if INTRADAY in parts else 1)])


def _snapshot(parts: Mapping[str, _Part]) -> Snapshot:
    days = {name: day for name in parts if (day := _day(name))}
    # Among equal as_of the later day counts, then the later moment.
    ordered = sorted(days, key=lambda name: (days[name], name))
    flights: dict[str, list[FlightDelay]] = {}
    flown: dict[str, date] = {}
    for name in ordered:
        for one in parts[name].flights:
            flights.setdefault(one.flight_id, []).append(one)
            flown[one.flight_id] = days[name]
    for predictions in flights.values():
        predictions.sort(key=lambda one: one.as_of)
    readings = {(one.location, one.known_at): one for name in ordered for one in parts[name].readings}
    return Snapshot(
        flights=flights,
        departures=_departures((flown[key], predictions[-1]) for key, predictions in flights.items()),
        locations={one.code: one for name in ordered for one in parts[name].locations},
        readings=_by_location(readings[key] for key in sorted(readings)),
        days=sorted(set(days.values())),
    )


def _departures(newest: Iterable[tuple[date, FlightDelay]]) -> dict[str, dict[date, list[FlightDelay]]]:
    found: dict[str, dict[date, list[FlightDelay]]] = {}
    for day, one in sorted(newest, key=lambda item: (item[1].scheduled_departure, item[1].flight_id)):
        found.setdefault(one.origin, {}).setdefault(day, []).append(one)
    return found


def _by_location(readings: Iterable[Reading]) -> dict[str, list[Reading]]:
    return {location: list(rows) for location, rows in groupby(readings, key=lambda one: one.location)}
