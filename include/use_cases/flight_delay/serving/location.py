"""location: the airport that a flight leaves from. The first link of the chain."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Query

from include.use_cases.flight_delay.serving.airports import CODE
from include.use_cases.flight_delay.serving.flights import FLIGHT_ID, flight
from include.use_cases.flight_delay.serving.places import Location, places
from serving.errors import NotFoundError, QuestionError
from serving.lookups.published import Published
from serving.lookups.refusal import NOT_FOUND


def router(published: Published) -> APIRouter:
    """`GET /v1/location`."""
    routes = APIRouter(tags=["chain"], responses=NOT_FOUND)

    @routes.get("/v1/location", summary="Where a flight leaves from, or an airport by its code")
    async def location(
        flight_id: Annotated[str | None, Query(pattern=FLIGHT_ID, examples=["2013-10-02-AA-1-JFK"])] = None,
        code: Annotated[str | None, Query(pattern=CODE, examples=["JFK"])] = None,
    ) -> Location:
        if (flight_id is None) == (code is None):
            raise QuestionError("give either flight_id or code")
        code = flight(published, flight_id).origin if flight_id is not None else code
        found = places(published).locations.get(code or "")
        if found is None:
            raise NotFoundError(f"airport {code}: no flight of the published days goes there")
        return found

    return routes
