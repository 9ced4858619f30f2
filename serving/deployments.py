"""What is served of each use case, and what was served when, as its releases say."""

from __future__ import annotations

import threading
from typing import Annotated

from fastapi import APIRouter, Path, Query, Request
from pydantic import BaseModel

from formats.release import InService, Release
from serving.access.caller import is_known
from serving.errors import NotReadyError
from serving.models import Models
from serving.release.follower import Follower

MOST = 100
"""The most entries of a log that are shown; each is read once."""

UseCaseName = Annotated[str, Path(min_length=1, max_length=200)]


class DeploymentList(BaseModel):
    """What was served when: the log's entries, newest first."""

    deployments: list[Release]


class ModelList(BaseModel):
    """What is in service, of each use case."""

    models: list[InService]


class History:
    """The newest entries of the logs; an entry never changes, so it is read once."""

    def __init__(self) -> None:
        self._entries: dict[tuple[str, int], Release] = {}
        self._lock = threading.Lock()

    def newest(self, follower: Follower, limit: int) -> list[Release]:
        """The newest entries that a follower has reached, newest first."""
        use_case, number = follower.answering.use_case, follower.number
        with self._lock:
            wanted = range(number, max(number - limit, 0), -1)
            for one in wanted:
                if (use_case, one) not in self._entries and (found := follower.entry(one)) is not None:
                    self._entries[use_case, one] = found
            for old in [key for key in self._entries if key[0] == use_case and key[1] <= number - MOST]:
                del self._entries[old]
            return [self._entries[use_case, one] for one in wanted if (use_case, one) in self._entries]


def router(models: Models) -> APIRouter:
    """`GET /v1/models`, `/v1/models/{use_case}`, `…/release`, `…/deployments`, and `/v1/model`."""
    routes = APIRouter(tags=["deployments"])
    history = History()

    @routes.get("/v1/models", summary="What is in service")
    async def list_models(request: Request) -> ModelList:
        """Each `uri` is empty for a caller who shows no credential."""
        served = [one for follower in models.followers() if (one := follower.answering.in_service)]
        return ModelList(models=[one.entry.told(is_known(request.scope)) for one in served])

    @routes.get("/v1/model", summary="What is in service, where there is one use case")
    async def only_model(request: Request) -> InService:
        """Its `uri` is empty for a caller who shows no credential."""
        return models.only().served.entry.told(is_known(request.scope))

    @routes.get("/v1/models/{use_case}", summary="What is in service of a use case")
    async def one_model(use_case: UseCaseName, request: Request) -> InService:
        """Its `uri` is empty for a caller who shows no credential."""
        return models.of(use_case).served.entry.told(is_known(request.scope))

    @routes.get("/v1/models/{use_case}/release", summary="What the newest entry of the releases says")
    async def release(use_case: UseCaseName, request: Request) -> Release:
        """What serves, what is being prepared or on trial, what can be gone back to, what was taken out."""
        newest = models.follower(use_case).release
        if newest is None:
            raise NotReadyError("the releases cannot be read now")
        return newest.told(is_known(request.scope))

    @routes.get("/v1/models/{use_case}/deployments", summary="What was served when")
    def deployments(
        use_case: UseCaseName, request: Request, limit: Annotated[int, Query(ge=1, le=MOST)] = MOST
    ) -> DeploymentList:
        """The newest entries: by whom, why and with which figures; addresses only for callers with a credential."""
        known, newest = is_known(request.scope), history.newest(models.follower(use_case), limit)
        return DeploymentList(deployments=[one.told(known) for one in newest])

    return routes
