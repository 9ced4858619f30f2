"""Published predictions of any use case, by its key and by the columns that its lookup names."""

from __future__ import annotations

from datetime import date
from typing import Annotated, Any

import msgspec
from fastapi import APIRouter, Path, Query, Response
from pydantic import BaseModel, ConfigDict, Field, JsonValue

from formats.names import none_of
from serving.errors import NotFoundError
from serving.lookups.lookups import Lookups
from serving.lookups.page import MOST, Page
from serving.lookups.refusal import NOT_FOUND

TEXT = 200
"""No key or value that is asked for is longer."""
AnyText = Annotated[str, Path(min_length=1, max_length=TEXT)]
PREDICTION: dict[str, JsonValue] = {
    "kiosk_day": "2026-06-15-Arno",
    "probability": 0.18,
    "as_of": "2026-06-14T22:00:00Z",
    "model_version": "7",
    "horizon": "morning",
}

_encode = msgspec.json.Encoder().encode


class PublishedPrediction(BaseModel):
    """A prediction as it was published: the key, the columns that the use case carries, and what was predicted.

    It was made by `model_version` from what was known at `as_of` (UTC), for `horizon`.
    """

    model_config = ConfigDict(protected_namespaces=(), extra="allow", json_schema_extra={"examples": [PREDICTION]})

    as_of: Annotated[str, Field(json_schema_extra={"format": "date-time"})]
    model_version: str
    horizon: str


class Asked(BaseModel):
    """Which page of a group."""

    day: Annotated[date | None, Field(alias="date", description="Data day; none: the newest")] = None
    limit: Annotated[int, Field(ge=1, le=MOST)] = 100
    offset: Annotated[int, Field(ge=0, le=1_000_000)] = 0


class PublishedGroup(BaseModel):
    """The newest prediction of each key whose `column` has this `value`, of a data day, in the lookup's order.

    `as_of` and `model_versions` describe the predictions shown: the newest one, and all of them. `total` counts all of
    the day; `next_offset` is where the next page begins, None after the last.
    """

    model_config = ConfigDict(protected_namespaces=())

    column: Annotated[str, Field(examples=["kiosk"])]
    value: Annotated[str, Field(examples=["Arno"])]
    date: date
    as_of: Annotated[str, Field(json_schema_extra={"format": "date-time"}, examples=["2026-06-14T22:00:00Z"])]
    model_versions: Annotated[list[str], Field(examples=[["7"]])]
    total: Annotated[int, Field(examples=[1])]
    next_offset: int | None
    predictions: list[PublishedPrediction]


def router(lookups: Lookups) -> APIRouter:
    """`GET /v1/models/{use_case}/predictions/{key}` and `…/groups/{column}/{value}`."""
    routes = APIRouter(prefix="/v1/models/{use_case}", tags=["lookups"], responses=NOT_FOUND)

    @routes.get(
        "/predictions/{key}", summary="The newest published prediction of a key", response_model=PublishedPrediction
    )
    async def prediction(use_case: AnyText, key: AnyText) -> Response:
        found = lookups.of(use_case).snapshot.predictions.get(key)
        if not found:
            raise NotFoundError(f"{use_case} {key}: no prediction is published")
        return _json(found[-1])

    @routes.get(
        "/groups/{column}/{value}",
        summary="Published predictions of one value of a column, page by page",
        response_model=PublishedGroup,
    )
    async def group(use_case: AnyText, column: AnyText, value: AnyText, asked: Annotated[Asked, Query()]) -> Response:
        groups = lookups.of(use_case).snapshot.groups
        if groups and column not in groups:
            raise NotFoundError(f"{use_case}: column {column} {none_of(column, groups)}")
        days = groups.get(column, {}).get(value)
        page = Page.of(days, asked.day, limit=asked.limit, offset=asked.offset, name=f"{use_case}: {column} {value}")
        return _json(
            {
                "column": column,
                "value": value,
                "date": page.day,
                "as_of": page.as_of,
                "model_versions": page.model_versions,
                "total": len(page.predictions),
                "next_offset": page.next_offset,
                "predictions": page.shown,
            }
        )

    return routes


def _json(body: Any) -> Response:
    return Response(_encode(body), media_type="application/json")
