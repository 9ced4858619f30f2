"""The chain location → sensor → prediction and what it stands on, as the app mounts it."""

from __future__ import annotations

from fastapi import APIRouter

from serving import airports, flights, location, prediction, sensor
from serving.metrics import Telemetry
from serving.published import Published
from serving.settings import ServingSettings


class Chain:
    """Published predictions and the routes over them; started and stopped with the app."""

    def __init__(self, settings: ServingSettings, telemetry: Telemetry) -> None:
        self.published = Published(settings)

    @property
    def router(self) -> APIRouter:
        """All routes."""
        routes = APIRouter()
        for part in (flights, airports, location, sensor, prediction):
            routes.include_router(part.router(self.published))
        return routes

    async def start(self) -> None:
        """Begin to follow what is published."""
        await self.published.start()

    async def stop(self) -> None:
        """End it."""
        await self.published.stop()
