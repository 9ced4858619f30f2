"""A release: what a use case serves from now on, as one entry of its log.

The log of a use case is `<use case>/log/0000000001.json`, … in the releases folder. Each entry is whole: it says what
is true from now on, so the newest one is enough, and all of them are the history. Only one writer can create entry N+1:
that is a compare-and-set on entry N.
"""

from __future__ import annotations

import re
from datetime import date, datetime
from enum import StrEnum
from typing import Any, Self

from pydantic import BaseModel, ConfigDict, Field

from formats.rollout_plan import Phase, Plan

KEPT = 50
"""The most versions to go back to, and the most that were taken out, in an entry."""


class ReleaseEvent(StrEnum):
    """What an entry changes."""

    PREPARING = "preparing"
    """Every replica loads a version; what is served stays."""
    SHADOW = "shadow"
    """A version is on trial; nobody sees its answers."""
    CANARY = "canary"
    """A version is on trial and answers a share of the requests."""
    DEPLOYED = "deployed"
    """A version serves, without a trial: none was requested, or there was nothing to compare it with."""
    PROMOTED = "promoted"
    """A version serves, after its trial."""
    REJECTED = "rejected"
    """A version broke a limit of its trial; what is served stays."""
    ABORTED = "aborted"
    """A version's release was cut short; what is served stays."""
    ROLLED_BACK = "rolled_back"
    """A person put an earlier version back."""
    RESTORED = "restored"
    """The served version failed its smoke test; the one before serves again."""
    CHECKED = "checked"
    """The served version passed its smoke test."""
    WITHDRAWN = "withdrawn"
    """Nothing serves from now on."""


class ReleaseModel(BaseModel):
    """A part of an entry. Fields of a later release are ignored, so that an older replica can follow."""

    model_config = ConfigDict(frozen=True, extra="ignore")


class InService(ReleaseModel):
    """A version and its model file; since when it serves (UTC), and who asked for it.

    `event` says how it came into service, `checked` whether it has passed a smoke test.
    """

    version: str
    sha256: str = Field(pattern=r"^[0-9a-f]{64}$")
    uri: str
    use_case: str
    since: datetime
    trained_through: date | None = None
    by: str = ""
    event: ReleaseEvent = ReleaseEvent.DEPLOYED
    checked: bool = False

    def told(self, known: bool) -> InService:
        """What a caller may see of it; the address of its file only if the caller is known."""
        return self if known else self.model_copy(update={"uri": ""})

    def same_file(self, other: InService | None) -> bool:
        """Whether both name one version and file, whenever they were put into service."""
        mine = (self.version, self.sha256, self.uri)
        return other is not None and mine == (other.version, other.sha256, other.uri)


class OnTrial(ReleaseModel):
    """A version on trial: `id` names the trial, `share` of the requests is answered by it (0: it only shadows)."""

    id: str
    entry: InService
    plan: Plan
    phase: Phase
    share: float = Field(default=0.0, ge=0, le=1)

    @property
    def name(self) -> str:
        """Names this phase of this trial: counts of another phase do not belong to it."""
        return f"{self.id}/{self.phase}"


class TakenOut(ReleaseModel):
    """A version that no night may deploy again, how it left, why and when."""

    entry: InService
    event: ReleaseEvent
    why: str
    at: datetime


class Release(ReleaseModel):
    """An entry of a use case's log. `version` is what `event` is about, `id` tells the entry from another writer's.

    `before` holds the versions that served well, newest last; `taken_out` those that may not come back by themselves.
    `metrics` are the figures that the event rests on.
    """

    id: str
    at: datetime
    event: ReleaseEvent
    version: str
    use_case: str
    by: str = ""
    why: str = ""
    serving: InService | None = None
    prepare: InService | None = None
    trial: OnTrial | None = None
    before: tuple[InService, ...] = ()
    taken_out: tuple[TakenOut, ...] = ()
    metrics: dict[str, Any] = Field(default_factory=dict)

    @property
    def under_way(self) -> InService | None:
        """The version that is being prepared or is on trial."""
        return self.trial.entry if self.trial else self.prepare

    def left(self, version: str) -> TakenOut | None:
        """How a version was taken out, if it was."""
        return next((one for one in reversed(self.taken_out) if one.entry.version == version), None)

    def known(self, version: str) -> InService | None:
        """A version that served, if only on trial."""
        gone = self.left(version)
        return next((one for one in reversed(self.before) if one.version == version), gone.entry if gone else None)

    def served(self, entry: InService, *, ended: ReleaseEvent = ReleaseEvent.DEPLOYED, why: str = "") -> Self:
        """The same with another version in service.

        What served before can be gone back to, unless `ended` says that it was rolled back or failed.
        """
        found = self.without(entry.version)
        left = found.serving
        if left is None or left.version == entry.version:
            return found.model_copy(update={"serving": entry, "prepare": None, "trial": None})
        if ended in (ReleaseEvent.ROLLED_BACK, ReleaseEvent.RESTORED):
            found = found.taking_out(left, ended, why, entry.since)
        else:
            others = tuple(one for one in found.before if one.version != left.version)
            found = found.model_copy(update={"before": (*others, left)[-KEPT:]})
        return found.model_copy(update={"serving": entry, "prepare": None, "trial": None})

    def taking_out(self, entry: InService, event: ReleaseEvent, why: str, at: datetime) -> Self:
        """The same with a version that may not come back by itself."""
        gone = TakenOut(entry=entry, event=event, why=why, at=at)
        found = self.without(entry.version)
        return found.model_copy(update={"taken_out": (*found.taken_out, gone)[-KEPT:]})

    def without(self, version: str) -> Self:
        """The same, with no memory of a version that served."""
        return self.model_copy(
            update={
                "before": tuple(one for one in self.before if one.version != version),
                "taken_out": tuple(one for one in self.taken_out if one.entry.version != version),
            }
        )

    def told(self, known: bool) -> Release:
        """What a caller may see of it; addresses of model files only if the caller is known."""
        if known:
            return self
        hidden = {
            "serving": self.serving and self.serving.told(known),
            "prepare": self.prepare and self.prepare.told(known),
            "trial": self.trial and self.trial.model_copy(update={"entry": self.trial.entry.told(known)}),
            "before": tuple(one.told(known) for one in self.before),
            "taken_out": tuple(
                one.model_copy(update={"entry": one.entry.told(known), "why": without_addresses(one.why)})
                for one in self.taken_out
            ),
            "why": without_addresses(self.why),
        }
        return self.model_copy(update=hidden)


def without_addresses(line: str, uri: str = "") -> str:
    """A line in which dots stand for that address, and for all that have a scheme."""
    return _ADDRESS.sub("…", line.replace(uri, "…") if uri else line)


_ADDRESS = re.compile(r"[A-Za-z][\w+.-]*://[^\s\"',;()]*[^\s\"',;().:]")
