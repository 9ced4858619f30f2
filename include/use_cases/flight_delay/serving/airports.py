"""The predicted delays of an airport's departures, by batch scoring."""

from __future__ import annotations

from datetime import date
from typing import Annotated

from fastapi import APIRouter, Path, Query
from pydantic import BaseModel, ConfigDict, Field

from include.use_cases.flight_delay.serving.places import FlightDelay, Instant, places
from serving.lookups.page import MOST, Page
from serving.lookups.published import Published
from serving.lookups.refusal import NOT_FOUND

CODE = r"^[A-Z0-9]{2,4}$"
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
        days = published.snapshot.groups.get("origin", {}).get(code)
        page = Page.of(days, day, limit=limit, offset=offset, name=f"airport {code}")
        location = places(published).locations.get(code)
        return AirportDelays(
            code=code,
            name=location.name if location else None,
            date=page.day,
            as_of=page.as_of,
            model_versions=page.model_versions,
            mean_probability=sum(one.probability for one in page.predictions) / len(page.predictions),
            total=len(page.predictions),
            next_offset=page.next_offset,
            flights=list(page.shown),
        )

    return routes
