"""What was served when, by whom and with which figures: a bounded file, and the answers made of it."""

from __future__ import annotations

import os
from datetime import datetime
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

from fastapi import APIRouter, Query, Request
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from serving.access.caller import is_known
from serving.rollout.rollout import InService, Rollout, without_addresses
from serving.rollout.state import StateFolder

FILE = "deployments.jsonl"
KEPT = 1000
"""At least this many events are kept, and at most twice as many: about 1 MB."""


class DeploymentEvent(StrEnum):
    """What happened."""

    DEPLOYED = "deployed"
    """It serves from now on, without a rollout: none was requested, or nothing served before."""
    PROMOTED = "promoted"
    """It serves from now on, after a rollout."""
    ROLLED_BACK = "rolled_back"
    """A rollout broke a limit; `instead_of` stays in service."""
    ABORTED = "aborted"
    """A rollout was cut short; `instead_of` stays in service, or the version of the explicit request."""
    WITHDRAWN = "withdrawn"
    """It was taken out, and nothing serves from now on."""


class DeploymentRecord(BaseModel):
    """One event, at an instant in UTC."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    at: datetime
    event: DeploymentEvent
    version: str
    sha256: str
    uri: str
    use_case: str
    by: str = ""
    instead_of: str | None = None
    rollout: str | None = None
    reason: str = ""
    metrics: dict[str, Any] = Field(default_factory=dict)

    @classmethod
    def of(
        cls, entry: InService, event: DeploymentEvent, at: datetime, *, rollout: Rollout | None = None, **noted: Any
    ) -> DeploymentRecord:
        """An event of a version; `noted` are further fields, such as `reason`."""
        named = entry.model_dump(include={"version", "sha256", "uri", "use_case", "by"})
        brought = {"instead_of": rollout.instead_of, "rollout": rollout.id} if rollout else {}
        return cls(at=at, event=event, **named | brought | noted)

    def told(self, known: bool) -> DeploymentRecord:
        """What a caller may see of it; addresses of model files only if the caller is known."""
        if known:
            return self
        return self.model_copy(update={"uri": "", "reason": without_addresses(self.reason, self.uri)})


class History:
    """The events in `deployments.jsonl`, oldest first; a process that adds one holds the state folder's lock."""

    def __init__(self, folder: StateFolder) -> None:
        self._folder = folder
        self._path: Path = folder.path / FILE

    def records(self) -> list[DeploymentRecord]:
        """Every stored event, oldest first; a line torn by a crash is left out."""
        try:
            lines = self._path.read_bytes().splitlines()
        except FileNotFoundError:
            return []
        return [record for line in lines if (record := _record(line)) is not None]

    def add(self, record: DeploymentRecord) -> None:
        """Store an event durably; the oldest ones are deleted when there are too many."""
        line = record.model_dump_json().encode() + b"\n"
        self._path.parent.mkdir(parents=True, exist_ok=True)
        with self._path.open("ab+") as file:
            file.write(line if _is_whole(file) else b"\n" + line)
            file.flush()
            os.fsync(file.fileno())
        kept = self.records()
        if len(kept) > 2 * KEPT:
            newest = b"".join(one.model_dump_json().encode() + b"\n" for one in kept[-KEPT:])
            self._folder.replace(FILE, newest)


def _is_whole(file: Any) -> bool:
    """Whether the last line of a file is complete: its writer may have ended first."""
    if file.seek(0, os.SEEK_END) == 0:
        return True
    file.seek(-1, os.SEEK_END)
    return bool(file.read(1) == b"\n")


def _record(line: bytes) -> DeploymentRecord | None:
    try:
        return DeploymentRecord.model_validate_json(line)
    except ValidationError:
        return None


class DeploymentList(BaseModel):
    """What was served when, newest first."""

    deployments: list[DeploymentRecord]


class Current(BaseModel):
    """What is served now, and the last rollout: under way, or how it ended."""

    serving: InService | None
    rollout: Rollout | None


def router(folder: StateFolder, history: History) -> APIRouter:
    """`GET /v1/deployments` and `GET /v1/deployments/current`: the same from every worker."""
    routes = APIRouter(tags=["deployments"])

    @routes.get("/v1/deployments", summary="What was served when")
    def deployments(request: Request, limit: Annotated[int, Query(ge=1, le=2 * KEPT)] = 100) -> DeploymentList:
        """The newest events: by whom, why and with which figures; addresses only for callers with a credential."""
        newest = history.records()[: -limit - 1 : -1]
        return DeploymentList(deployments=[record.told(is_known(request.scope)) for record in newest])

    @routes.get("/v1/deployments/current", summary="What is served now, and the last rollout")
    def current(request: Request) -> Current:
        """To wait for a rollout, ask until its phase is promoted, rolled_back or aborted."""
        known = is_known(request.scope)
        try:
            serving = folder.current()
        except (OSError, ValidationError):
            serving = None
        rollout = folder.change().rollout
        return Current(serving=serving and serving.told(known), rollout=rollout and rollout.told(known))

    return routes
