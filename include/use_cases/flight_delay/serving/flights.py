"""One flight's predicted delay, by batch scoring."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated

from fastapi import APIRouter, Path

from include.use_cases.flight_delay.serving.places import FlightDelay
from serving.errors import NotFoundError
from serving.lookups.published import Published
from serving.lookups.refusal import NOT_FOUND

FLIGHT_ID = r"^[A-Za-z0-9][A-Za-z0-9._:-]{0,63}$"


def router(published: Published) -> APIRouter:
    """`GET /v1/flights/{flight_id}/delay`."""
    routes = APIRouter(tags=["lookups"], responses=NOT_FOUND)

    @routes.get("/v1/flights/{flight_id}/delay", summary="A flight's newest published prediction")
    async def delay(
        flight_id: Annotated[str, Path(pattern=FLIGHT_ID, examples=["2013-10-02-AA-1-JFK"])],
    ) -> FlightDelay:
        return flight(published, flight_id)

    return routes


def flight(published: Published, flight_id: str) -> FlightDelay:
    """A flight's newest prediction, or `NotFoundError`."""
    found: Sequence[FlightDelay] | None = published.snapshot.predictions.get(flight_id)
    if not found:
        raise NotFoundError(f"flight {flight_id}: no prediction is published; see /v1/airports/{{code}}/delays")
    return found[-1]
