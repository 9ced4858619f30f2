"""How an answer looks that is none: one line, in `detail`."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import BaseModel, Field


class Refusal(BaseModel):
    """Why there is no answer, in one line."""

    detail: Annotated[str, Field(examples=["flight 2013-10-02-AA-1-JFK: no prediction is published"])]


REFUSALS: dict[int | str, dict[str, Any]] = {
    404: {"model": Refusal, "description": "Nothing is known of it"},
    422: {"model": Refusal, "description": "The question cannot be understood"},
    503: {
        "model": Refusal,
        "description": "No answer yet",
        "headers": {
            "Retry-After": {"description": "Seconds until it is worth asking again", "schema": {"type": "integer"}}
        },
    },
}
"""The answers in OpenAPI that every lookup may give besides its own."""
