"""prediction: the probability that a flight arrives late. The last link of the chain."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from fastapi import APIRouter, Query
from pydantic import AwareDatetime, Field

from include.use_cases.flight_delay.serving.airports import CODE
from include.use_cases.flight_delay.serving.flights import FLIGHT_ID
from include.use_cases.flight_delay.serving.places import FlightDelay, Instant, Probability
from serving.errors import NotFoundError
from serving.lookups.published import Published
from serving.lookups.refusal import NOT_FOUND


@dataclass(frozen=True, slots=True)
class Prediction:
    """The probability that a flight arrives more than 15 minutes late, as of when, and by which version."""

    flight_id: Annotated[str, Field(examples=["2013-10-02-AA-1-JFK"])]
    probability: Probability
    as_of: Instant
    model_version: Annotated[str, Field(examples=["7"])]

    @classmethod
    def of(cls, delay: FlightDelay) -> Prediction:
        """A published prediction."""
        return cls(delay.flight_id, delay.probability, delay.as_of, delay.model_version)


def router(published: Published) -> APIRouter:
    """`GET /v1/prediction`."""
    routes = APIRouter(tags=["chain"], responses=NOT_FOUND)

    @routes.get("/v1/prediction", summary="A flight's newest published prediction, as the chain asks for it")
    async def prediction(
        flight_id: Annotated[str, Query(pattern=FLIGHT_ID, examples=["2013-10-02-AA-1-JFK"])],
        location: Annotated[str | None, Query(pattern=CODE, description="Where the flight leaves from")] = None,
        known_at: Annotated[AwareDatetime | None, Query(description="No sensor reading newer than this one")] = None,
    ) -> Prediction:
        found = [
            one
            for one in published.snapshot.predictions.get(flight_id, ())
            if location in (None, one.origin)
            and (known_at is None or one.sensor_at is None or one.sensor_at <= known_at)
        ]
        if not found:
            asked = f"flight {flight_id}" + (f" from {location}" if location else "")
            raise NotFoundError(f"{asked}: no prediction is published{f' as of {known_at}' if known_at else ''}")
        return Prediction.of(found[-1])

    return routes
