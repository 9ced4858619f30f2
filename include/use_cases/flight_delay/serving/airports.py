"""The predicted delays of an airport's departures, by batch scoring."""

from __future__ import annotations

from datetime import date
from typing import Annotated

from fastapi import APIRouter, Path, Query
from pydantic import BaseModel, ConfigDict, Field

from serving.errors import NotFoundError
from serving.lookups.published import FlightDelay, Instant, Published
from serving.lookups.refusal import NOT_FOUND

CODE = r"^[A-Z0-9]{2,4}$"
MOST = 500
AnyCode = Annotated[str, Path(pattern=CODE, examples=["JFK"])]


class AirportDelays(BaseModel):
    """The departures of a data day, newest prediction each, by scheduled departure.

    `as_of` and `model_versions` describe the flights shown: the newest one, and all of them. `total` counts all
    departures of the day, `mean_probability` is over all of them; `next_offset` is where the next page begins, None
    after the last.
    """

    model_config = ConfigDict(protected_namespaces=())

    code: Annotated[str, Field(examples=["JFK"])]
    name: Annotated[str | None, Field(examples=["John F Kennedy Intl"])]
    date: date
    as_of: Instant
    model_versions: Annotated[list[str], Field(examples=[["7"]])]
    mean_probability: Annotated[float, Field(ge=0, le=1, examples=[0.21])]
    total: int
    next_offset: int | None
    flights: list[FlightDelay]


def router(published: Published) -> APIRouter:
    """`GET /v1/airports/{code}/delays`."""
    routes = APIRouter(tags=["lookups"], responses=NOT_FOUND)

    @routes.get("/v1/airports/{code}/delays", summary="Published predictions of an airport's departures")
    async def delays(
        code: AnyCode,
        day: Annotated[date | None, Query(alias="date", description="Data day; none: the newest")] = None,
        limit: Annotated[int, Query(ge=1, le=MOST)] = 100,
        offset: Annotated[int, Query(ge=0, le=1_000_000)] = 0,
    ) -> AirportDelays:
        snapshot = published.snapshot
        days = snapshot.departures.get(code)
        if not days:
            raise NotFoundError(f"airport {code}: no predictions are published of flights from it")
        day = day or max(days)
        flights = days.get(day)
        if not flights:
            raise NotFoundError(f"airport {code}: nothing is published of {day}; there are {min(days)} to {max(days)}")
        shown = flights[offset : offset + limit]
        if not shown:
            raise NotFoundError(f"airport {code}: offset {offset} is past the {len(flights)} flights of {day}")
        location = snapshot.locations.get(code)
        return AirportDelays(
            code=code,
            name=location.name if location else None,
            date=day,
            as_of=max(one.as_of for one in shown),
            model_versions=sorted({one.model_version for one in shown}),
            mean_probability=sum(one.probability for one in flights) / len(flights),
            total=len(flights),
            next_offset=offset + limit if offset + limit < len(flights) else None,
            flights=list(shown),
        )

    return routes
