"""The chain location → sensor → prediction, the forecast over it, and the lookups below it, as one part."""

from __future__ import annotations

from typing import TypeVar

import httpx
from fastapi import APIRouter, FastAPI
from pydantic import HttpUrl

from formats.portable_model import ServingError
from include.use_cases.flight_delay.serving import airports, flights, forecast, location, prediction, sensor
from include.use_cases.flight_delay.serving.forecast import Forecasts, Upstreams
from include.use_cases.flight_delay.serving.places import Location, Reading
from include.use_cases.flight_delay.serving.prediction import Prediction
from include.use_cases.flight_delay.serving.settings import ChainSettings
from serving import answer
from serving.lookups.published import Published
from serving.telemetry.metrics import Telemetry
from serving.upstream.pace import Pace
from serving.upstream.upstream import Upstream

T = TypeVar("T")

OWN = "http://own"
"""Where the client finds this server's own endpoints: in this process, without network and credentials."""
CONNECT_SECONDS = 1.0
KEPT_CONNECTIONS = 8
"""The pool looks at each idle connection for each call: with 64 a call cost 10 ms, with 8 it costs 1 (2026-11-21)."""


class Chain:
    """Forecasts, and the routes over them and over published predictions; started and stopped with the app."""

    def __init__(self, published: Published, telemetry: Telemetry, settings: ChainSettings) -> None:
        self.published = published
        self._client = _client(settings, self._links())
        self._pace = Pace()
        upstreams = Upstreams(
            self._upstream("location", settings.location_url, Location, settings, telemetry),
            self._upstream("sensor", settings.sensor_url, Reading, settings, telemetry),
            self._upstream("prediction", settings.prediction_url, Prediction, settings, telemetry),
        )
        self.forecasts = Forecasts(self.published, upstreams, settings, telemetry)

    @property
    def router(self) -> APIRouter:
        """All routes."""
        routes = APIRouter()
        # First, because most requests ask for it, and routes are tried in turn.
        routes.include_router(forecast.router(self.forecasts))
        routes.include_router(flights.router(self.published))
        routes.include_router(airports.router(self.published))
        routes.include_router(self._links())
        return routes

    async def start(self) -> None:
        """Nothing: forecasts are made when they are asked for."""

    async def stop(self) -> None:
        """End whatever is being asked."""
        await self.forecasts.stop()
        await self._client.aclose()

    def _links(self) -> APIRouter:
        routes = APIRouter()
        for part in (location, sensor, prediction):
            routes.include_router(part.router(self.published))
        return routes

    def _upstream(
        self, name: str, url: HttpUrl | None, kind: type[T], settings: ChainSettings, telemetry: Telemetry
    ) -> Upstream[T]:
        address = str(url) if url else f"{OWN}/v1/{name}"
        return Upstream(
            name, self._client, address, kind, telemetry, seconds=settings.upstream_seconds, pace=self._pace
        )


def _client(settings: ChainSettings, links: APIRouter) -> httpx.AsyncClient:
    own = FastAPI(exception_handlers={ServingError: answer.serving_error}, openapi_url=None)
    own.include_router(links)
    token = settings.upstream_token
    return httpx.AsyncClient(
        # An upstream itself says how long a call may take.
        timeout=httpx.Timeout(None, connect=CONNECT_SECONDS),
        # A call and its hedge for each forecast being made; they are bounded, so none waits for a connection.
        limits=httpx.Limits(max_connections=4 * settings.forecast_loads, max_keepalive_connections=KEPT_CONNECTIONS),
        headers={"Authorization": f"Bearer {token.get_secret_value()}"} if token else {},
        mounts={OWN: httpx.ASGITransport(own)},
    )
