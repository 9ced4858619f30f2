"""Whether the server is alive and ready, and what it serves."""

from __future__ import annotations

from fastapi import APIRouter, Request
from pydantic import BaseModel, ConfigDict, Field

from formats.portable_model import ServingError
from serving.access.caller import is_known
from serving.errors import DrainingError, NotReadyError
from serving.rollout.rollout import InService
from serving.rollout.served import Served
from serving.rollout.service import Service


class Alive(BaseModel):
    """The process answers."""

    status: str = Field(examples=["alive"])


class Ready(BaseModel):
    """The version in service answered its self-test just now."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"status": "ready", "version": "7"}]})

    status: str
    version: str


def probe(request: Request, served: Served) -> None:
    """`DrainingError` or `NotReadyError` when requests for this model should not be sent here."""
    if request.app.state.draining:
        raise DrainingError("this server is being stopped")
    try:
        served.model.self_test()
    except ServingError as error:
        raise NotReadyError(f"version {served.entry.version} is not ready: {error}") from None


def router(service: Service) -> APIRouter:
    """`/healthz`, `/readyz` and `/v1/model`."""
    found = APIRouter()

    @found.get("/healthz", summary="Whether the process lives")
    async def healthz() -> Alive:
        return Alive(status="alive")

    @found.get("/readyz", summary="Whether requests should be sent here")
    async def readyz(request: Request) -> Ready:
        served = service.served
        probe(request, served)
        return Ready(status="ready", version=served.entry.version)

    @found.get("/v1/model", summary="What is in service")
    async def model(request: Request) -> InService:
        """Its `uri` is empty for a caller who shows no credential."""
        return service.in_service.told(is_known(request.scope))

    return found
