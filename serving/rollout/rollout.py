"""What is in service, and a rollout that brings a new version there."""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import date, datetime
from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from formats.rollout_plan import NEXT, Phase, Plan


class InService(BaseModel):
    """What is served, since when (UTC), and who asked for it; the content of `current.json`."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    version: str
    sha256: str
    uri: str
    use_case: str
    since: datetime
    trained_through: date | None = None
    by: str = ""

    def told(self, known: bool) -> InService:
        """What a caller may see of it; the address of its file only if the caller is known."""
        return self if known else self.model_copy(update={"uri": ""})

    def same_file(self, other: InService | None) -> bool:
        """Whether both name one version and file, whenever they were put into service."""
        mine = (self.version, self.sha256, self.uri)
        return other is not None and mine == (other.version, other.sha256, other.uri)


class Rollout(BaseModel):
    """One rollout of one version; the last one is kept in `rollout.json`.

    `worker` names the process that drives it, `instead_of` the version it is compared with, `metrics` what was seen.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    id: str
    worker: str
    entry: InService
    instead_of: str | None = None
    plan: Plan | None = None
    phase: Phase = Phase.NONE
    share: float = 0.0
    began: datetime
    changed: datetime
    reason: str = ""
    metrics: dict[str, Any] = Field(default_factory=dict)

    def told(self, known: bool) -> Rollout:
        """What a caller may see of it; addresses of model files only if the caller is known."""
        if known:
            return self
        reason = without_addresses(self.reason, self.entry.uri)
        return self.model_copy(update={"entry": self.entry.told(known), "reason": reason})

    @property
    def under_way(self) -> bool:
        """Whether it has not ended."""
        return self.phase in NEXT

    def to(
        self,
        phase: Phase,
        at: datetime,
        *,
        share: float = 0.0,
        reason: str = "",
        metrics: Mapping[str, Any] | None = None,
    ) -> Rollout:
        """The same in another phase; `ValueError` for one that cannot follow."""
        if phase not in NEXT.get(self.phase, ()):
            raise ValueError(f"a rollout that is {self.phase} cannot become {phase}")
        changes = {"phase": phase, "share": share, "changed": at, "reason": reason}
        return self.model_copy(update=changes | {"metrics": dict(metrics or self.metrics)})


def without_addresses(line: str, uri: str = "") -> str:
    """A line in which dots stand for that address, and for all that have a scheme."""
    return _ADDRESS.sub("…", line.replace(uri, "…") if uri else line)


_ADDRESS = re.compile(r"[A-Za-z][\w+.-]*://[^\s\"',;()]*[^\s\"',;().:]")
