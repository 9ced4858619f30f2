"""The writer of a use case's releases: it appends to the log what is to be served from now on."""

from __future__ import annotations

import os
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from formats.release import Release, ReleaseEvent
from formats.release_log import ReleaseLog
from include.errors import FaultError
from include.report import RUN
from include.settings import Settings
from include.storage.store import open_store

BY_HAND = "by hand"


class OvertakenError(FaultError):
    """Somebody else changed what is served, so what was judged is judged again."""


@dataclass(frozen=True)
class Tail:
    """The newest entry of a log, and its number; `release` is an empty one where nothing was released yet."""

    number: int
    release: Release


class ReleaseWriter:
    """Appends to one use case's log in the name of `actor`: the task instance that acts, or a person."""

    def __init__(
        self, log: ReleaseLog, actor: str = BY_HAND, now: Callable[[], datetime] = lambda: datetime.now(UTC)
    ) -> None:
        self.log = log
        self.actor = actor
        self.now = now

    @classmethod
    def open(cls, settings: Settings, use_case: str) -> ReleaseWriter:
        """The writer in the name of this process's run."""
        folder = open_store(settings.releases_folder, s3_endpoint=settings.s3_endpoint)

        def failure(line: str) -> FaultError:
            return FaultError(f"releases of {use_case}: {line}")

        return cls(ReleaseLog(folder, use_case, failure), os.environ.get(RUN, BY_HAND))

    def tail(self, known: int = 0) -> Tail:
        """The newest entry; `known` is the number of one that is there."""
        number, release = self.log.tail(known)
        return Tail(number, release or self._nothing())

    def append(self, tail: Tail, event: ReleaseEvent, version: str, release: Release, **noted: Any) -> Tail:
        """Append `release`, made from the tail; `OvertakenError` if the tail is no longer the newest entry."""
        named = {"id": uuid.uuid4().hex, "at": self.now(), "event": event, "version": version, "by": self.actor}
        entry = release.model_copy(update=named | {"why": "", "metrics": {}} | noted)
        if not self.log.append(tail.number + 1, entry):
            raise OvertakenError(
                f"releases of {self.log.use_case}: entry {tail.number + 1} was written by another; try again"
            )
        return Tail(tail.number + 1, entry)

    def _nothing(self) -> Release:
        return Release(id="", at=self.now(), event=ReleaseEvent.WITHDRAWN, version="", use_case=self.log.use_case)
