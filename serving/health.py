"""Whether the server is alive and ready, and what it serves."""

from __future__ import annotations

from fastapi import APIRouter, Request
from pydantic import BaseModel, ConfigDict, Field, JsonValue

from formats.portable_model import ServingError
from serving.errors import DrainingError, NotReadyError
from serving.models import Models
from serving.release.follower import Follower
from serving.release.served import Served

EXAMPLE: dict[str, JsonValue] = {"version": "7", "entry": 42, "read_seconds_ago": 0.4, "error": ""}


class Alive(BaseModel):
    """The process answers."""

    status: str = Field(default="alive", examples=["alive"])


class FollowedModel(BaseModel):
    """What is served of a use case, and how well its releases are followed.

    `entry` is the newest one that was read, `read_seconds_ago` when they were last in reach (null: never). `error` says
    what cannot be loaded of them.
    """

    version: str | None
    entry: int
    read_seconds_ago: float | None
    error: str = ""

    @classmethod
    def of(cls, follower: Follower) -> FollowedModel:
        """How a follower stands."""
        served, age = follower.answering.in_service, follower.age
        return cls(
            version=served.entry.version if served else None,
            entry=follower.number,
            read_seconds_ago=None if age is None else round(age, 1),
            error=follower.error,
        )


class Ready(BaseModel):
    """The server can answer; of each use case what it serves."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"status": "ready", "models": {"ice_cream": EXAMPLE}}]})

    status: str = "ready"
    models: dict[str, FollowedModel]


def require_ready(request: Request, models: Models) -> None:
    """`DrainingError` or `NotReadyError` when requests should not be sent to this server."""
    _require_staying(request)
    served = [one for follower in models.followers() if (one := follower.answering.in_service)]
    if not served or not models.tried:
        _refuse(models)
    for one in served:
        probe(request, one)


def probe(request: Request, served: Served) -> None:
    """The same for one model."""
    _require_staying(request)
    try:
        served.model.self_test()
    except ServingError as error:
        raise NotReadyError(f"version {served.entry.version} is not ready: {error}") from None


def router(models: Models) -> APIRouter:
    """`GET /healthz` and `GET /readyz`."""
    found = APIRouter(tags=["health"])

    @found.get("/healthz", summary="Whether the process answers")
    async def healthz() -> Alive:
        return Alive()

    @found.get("/readyz", summary="Whether it can answer predictions")
    async def readyz(request: Request) -> Ready:
        """Ready is who has loaded what it could, and can answer for a use case at least."""
        require_ready(request, models)
        return Ready(models={one.answering.use_case: FollowedModel.of(one) for one in models.followers()})

    return found


def _require_staying(request: Request) -> None:
    if request.app.state.draining:
        raise DrainingError("this server is being stopped")


def _refuse(models: Models) -> None:
    why = [f"{one.answering.use_case}: {one.answering.why_not}" for one in models.followers()]
    if len(why) == 1:
        models.only().served  # noqa: B018 (its error says why not)
    raise NotReadyError(f"no model is served: {'; '.join(why) or 'nothing was deployed yet'}")
