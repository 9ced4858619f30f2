"""What is published of flights, as its types: predicted delays, airports, and readings of their weather stations."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import groupby
from typing import Annotated

import msgspec
from pydantic import Field

from serving.lookups.published import Published
from serving.lookups.shape import Row, Shape
from serving.lookups.snapshot import Snapshot

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
class Places:
    """The airports of a snapshot by code, and each one's readings, oldest first."""

    locations: Mapping[str, Location]
    readings: Mapping[str, Sequence[Reading]]

    @classmethod
    def of(cls, snapshot: Snapshot) -> Places:
        """The places of a snapshot; of two rows about one thing the later day's counts."""
        readings = {(one.location, one.known_at): one for one in snapshot.tables.get("readings", ())}
        ordered = [readings[place] for place in sorted(readings)]
        return cls(
            {one.code: one for one in snapshot.tables.get("locations", ())},
            {location: list(rows) for location, rows in groupby(ordered, key=lambda one: one.location)},
        )

    def reading(self, location: str, known_at: datetime | None) -> Reading | None:
        """A location's reading of exactly that moment."""
        readings = self.readings.get(location, ())
        place = bisect_left(readings, known_at, key=lambda one: one.known_at) if known_at else len(readings)
        return readings[place] if place < len(readings) and readings[place].known_at == known_at else None


def places(published: Published) -> Places:
    """The places of what is published now; errors as of its snapshot."""
    found: Places = published.snapshot.view
    return found


def _flight(row: Row) -> FlightDelay:
    return msgspec.convert(row, FlightDelay)


def _location(row: Row) -> Location:
    return msgspec.convert(row, Location)


def _reading(row: Row) -> Reading:
    place, known_at = row.pop("location"), row.pop("known_at")
    return msgspec.convert({"location": place, "known_at": known_at, "values": row}, Reading)


SHAPE = Shape(prediction=_flight, tables={"locations": _location, "readings": _reading}, view=Places.of)
