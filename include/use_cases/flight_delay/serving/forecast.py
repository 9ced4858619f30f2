"""The forecast: location, sensor and prediction in one answer, in time, whatever the three take."""

from __future__ import annotations

import re
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Annotated, Any
from urllib.parse import parse_qs

import msgspec
from fastapi import APIRouter, Query
from fastapi.routing import APIRoute
from pydantic import Field
from starlette.types import Receive, Scope, Send

from include.use_cases.flight_delay.serving.flights import FLIGHT_ID
from include.use_cases.flight_delay.serving.places import FlightDelay, Location, Reading, places
from include.use_cases.flight_delay.serving.prediction import Prediction
from include.use_cases.flight_delay.serving.settings import ChainSettings
from serving.answer import send_json
from serving.errors import NotFoundError, NotYetError, QuestionError
from serving.lookups.published import Published
from serving.lookups.refusal import NOT_FOUND
from serving.telemetry.metrics import Telemetry
from serving.upstream.cache import Cache, Held, Loaded, Terms
from serving.upstream.upstream import Upstream

PLACES_STAY_SECONDS = 3600.0
"""A flight's airport is kept for an hour: airports do not move, and gates do not matter."""

_KNOWN = re.compile(FLIGHT_ID)


class ForecastOrigin(StrEnum):
    """Where a forecast comes from."""

    PUBLISHED = "published"
    CHAIN = "chain"


@dataclass(frozen=True, slots=True)
class Forecast:
    """Will this flight arrive late, where does it leave from, and what was the weather there?

    `sensor` is null where no station reports. `age_seconds` is how long ago the oldest part was asked for, or the lake
    was last read; `stale` means that this is too long ago: the upstreams, or the lake, do not answer.
    """

    location: Location
    sensor: Reading | None
    prediction: Prediction
    source: ForecastOrigin
    stale: bool
    age_seconds: Annotated[float, Field(ge=0, examples=[12.5])]


@dataclass(frozen=True)
class Upstreams:
    """The three links of the chain."""

    location: Upstream[Location]
    sensor: Upstream[Reading]
    prediction: Upstream[Prediction]


class Forecasts:
    """Answers immediately from published predictions or earlier answers, and asks the chain in the background."""

    def __init__(
        self,
        published: Published,
        upstreams: Upstreams,
        settings: ChainSettings,
        telemetry: Telemetry,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._published = published
        self._upstreams = upstreams
        self._seconds = settings.forecast_seconds
        terms = Terms(
            refresh=settings.forecast_refresh_seconds,
            fresh=settings.forecast_fresh_seconds,
            keep=settings.forecast_keep_seconds,
            missing=settings.forecast_missing_seconds,
            entries=settings.forecast_entries,
            loads=settings.forecast_loads,
        )
        places = replace(
            terms, refresh=PLACES_STAY_SECONDS / 2, fresh=PLACES_STAY_SECONDS, keep=24 * PLACES_STAY_SECONDS
        )
        self._locations = Cache("location", self._location, places, telemetry, clock)
        self._readings = Cache("sensor", self._reading, terms, telemetry, clock)
        self._forecasts = Cache("forecast", self._make, terms, telemetry, clock)

    async def ask(self, flight_id: str) -> Forecast:
        """A flight's forecast; `NotFoundError` if nobody knows the flight, `NotYetError` if there is nothing yet."""
        published = self._from_published(flight_id)
        held = self._forecasts.peek(flight_id)
        if held is None:
            self._forecasts.refresh(flight_id, urgent=published is None)
        best = _better(published, _from_chain(held))
        if best is None and held is None:
            try:
                held = await self._forecasts.get(flight_id, within=self._patience(flight_id))
            except NotYetError as error:
                raise NotYetError(f"flight {flight_id}: no forecast yet, {error}", error.retry_after or 1) from None
            best = _from_chain(held)
        if best is None:
            raise NotFoundError(f"flight {flight_id}: nobody knows it")
        return best

    async def stop(self) -> None:
        """Cancel the running loads."""
        for cache in (self._forecasts, self._readings, self._locations):
            await cache.stop()

    def _patience(self, flight_id: str) -> float:
        """The time limit, or none if even a fast chain would take longer."""
        remaining = self._forecasts.remaining(flight_id, at_best=True)
        return 0.0 if remaining is not None and remaining > self._seconds else self._seconds

    def _from_published(self, flight_id: str) -> Forecast | None:
        flight: FlightDelay | None = self._published.newest(flight_id)
        if flight is None:
            return None
        found = places(self._published)
        location = found.locations.get(flight.origin)
        if location is None:
            return None
        reading = found.reading(flight.origin, flight.sensor_at)
        outdated = self._published.outdated
        return Forecast(
            location, reading, Prediction.of(flight), ForecastOrigin.PUBLISHED, outdated is not None, outdated or 0.0
        )

    # What the caches load

    async def _location(self, flight_id: str) -> Loaded[Location]:
        return Loaded(await self._upstreams.location.ask(flight_id=flight_id))

    async def _reading(self, location: str) -> Loaded[Reading]:
        return Loaded(await self._upstreams.sensor.ask(location=location))

    async def _make(self, flight_id: str) -> Loaded[Forecast]:
        location = (await self._locations.get(flight_id)).value
        if location is None:
            raise NotFoundError(f"flight {flight_id}: nobody knows it")
        sensor = await self._readings.get(location.code)
        query = {"flight_id": flight_id, "location": location.code}
        if sensor.value is not None:
            query["known_at"] = sensor.value.known_at.isoformat()
        prediction = await self._upstreams.prediction.ask(**query)
        forecast = Forecast(location, sensor.value, prediction, ForecastOrigin.CHAIN, stale=False, age_seconds=0.0)
        return Loaded(forecast, age=sensor.age)


def router(forecasts: Forecasts) -> APIRouter:
    """`GET /v1/forecast`."""
    encode = msgspec.json.Encoder().encode

    async def answer(scope: Scope, _: Receive, send: Send) -> None:
        await send_json(send, 200, encode(await forecasts.ask(_flight_id(scope["query_string"]))))

    class Quick(APIRoute):
        """In OpenAPI as its endpoint is declared; answered without all that FastAPI would build from that."""

        def __init__(self, path: str, endpoint: Callable[..., Any], **about: Any) -> None:
            super().__init__(path, endpoint, **about)
            self.app = answer

    routes = APIRouter(route_class=Quick, tags=["chain"], responses=NOT_FOUND)

    @routes.get("/v1/forecast", summary="A flight's forecast, within 2 s")
    async def forecast(
        flight_id: Annotated[str, Query(pattern=FLIGHT_ID, examples=["2013-10-02-AA-1-JFK"])],
    ) -> Forecast:
        return await forecasts.ask(flight_id)

    return routes


def _flight_id(query: bytes) -> str:
    """The one parameter, checked as the document describes it."""
    asked = parse_qs(query.decode("latin-1"), keep_blank_values=True).get("flight_id")
    if asked is None:
        raise QuestionError("flight_id: Field required")
    if not _KNOWN.fullmatch(asked[-1]):
        raise QuestionError(f"flight_id: String should match pattern '{FLIGHT_ID}'")
    return asked[-1]


def _from_chain(held: Held[Forecast] | None) -> Forecast | None:
    if held is None or held.value is None:
        return None
    return replace(held.value, stale=held.stale, age_seconds=round(held.age, 3))


def _better(published: Forecast | None, chained: Forecast | None) -> Forecast | None:
    """The newer prediction; of two as of the same moment the chain's, unless it is stale."""
    if published is None or chained is None:
        return published or chained
    if chained.prediction.as_of == published.prediction.as_of:
        return published if chained.stale else chained
    return max(published, chained, key=lambda one: one.prediction.as_of)
