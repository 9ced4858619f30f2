"""sensor: the reading of an airport's weather station. The second link of the chain."""

from __future__ import annotations

from bisect import bisect_right
from typing import Annotated

from fastapi import APIRouter, Query
from pydantic import AwareDatetime

from include.use_cases.flight_delay.serving.airports import CODE
from include.use_cases.flight_delay.serving.places import Reading, places
from serving.errors import NotFoundError
from serving.lookups.published import Published
from serving.lookups.refusal import NOT_FOUND


def router(published: Published) -> APIRouter:
    """`GET /v1/sensor`."""
    routes = APIRouter(tags=["chain"], responses=NOT_FOUND)

    @routes.get("/v1/sensor", summary="The newest published reading of a location")
    async def sensor(
        location: Annotated[str, Query(pattern=CODE, examples=["JFK"])],
        as_of: Annotated[AwareDatetime | None, Query(description="Only what was known by then")] = None,
    ) -> Reading:
        readings = places(published).readings.get(location, ())
        count = len(readings) if as_of is None else bisect_right(readings, as_of, key=lambda one: one.known_at)
        if not count:
            raise NotFoundError(f"location {location}: no reading is published{f' as of {as_of}' if as_of else ''}")
        return readings[count - 1]

    return routes
