"""One replica on a stage: a store in memory that can be away, a clock that is set, models that are ready when told."""

from __future__ import annotations

import uuid
from collections.abc import Mapping
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from typing import Any

from formats.release import InService, OnTrial, Release, ReleaseEvent
from formats.release_log import ReleaseLog
from formats.replica_report import Lease, ReplicaReport
from formats.request_rows import RequestModel
from formats.rollout_plan import Phase, Plan
from serving.release.answering import Answering
from serving.release.follower import Follower
from serving.release.kept import Kept
from tests.memory import Memory
from tests.portable_files import portable_bytes

USE_CASE = "flight_delay"
AT = datetime(2026, 11, 26, tzinfo=UTC)
ROWS: list[dict[str, Any]] = [
    {"distance": number / 10 - 2.5, "hour": number % 24, "carrier": ("AA", "B6", "UA")[number % 3]}
    for number in range(60)
]


def version(number: int) -> InService:
    """A version, whose file's hash is its number."""
    uri = f"s3://models/{number}.onnx"
    return InService(version=str(number), sha256=f"{number:064x}", uri=uri, use_case=USE_CASE, since=AT)


@cache
def model(number: int) -> RequestModel:
    """A version's model: no two give the same answers."""
    return RequestModel.load(portable_bytes(bias=number / 50))


class Shelf:
    """Models by hash, as a loader would have them: those in `ready`, and errors of others."""

    def __init__(self) -> None:
        self.ready: dict[str, RequestModel] = {}
        self.errors: dict[str, str] = {}
        self.lost: set[str] = set()
        self.wanted: set[str] = set()

    def put(self, *numbers: int) -> None:
        self.ready |= {version(number).sha256: model(number) for number in numbers}

    def want(self, entries: Mapping[str, InService]) -> None:
        self.wanted = set(entries)

    def model(self, sha256: str) -> RequestModel | None:
        return self.ready.get(sha256) if sha256 in self.wanted else None

    def error(self, sha256: str) -> str:
        return self.errors.get(sha256, "")

    def refused(self, sha256: str) -> bool:
        return sha256 in self.lost


class Rehearsal:
    """A follower whose steps a test takes, and the log that it follows."""

    def __init__(self, folder: Path | None = None, memory: Memory | None = None) -> None:
        self.memory = memory or Memory()
        self.log = ReleaseLog(self.memory, USE_CASE)
        self.shelf = Shelf()
        self.seconds = 1000.0
        self.answering = Answering(USE_CASE)
        self.kept = Kept(folder, USE_CASE) if folder else None
        self.replica = uuid.uuid4().hex
        self.follower = Follower(
            self.log,
            self.answering,
            self.shelf,
            self.kept,
            replica=self.replica,
            poll=2.0,
            clock=lambda: self.seconds,
            now=lambda: self.seconds + 1.7e9,
        )
        self._beat = 0

    def step(self, after: float = 1.0) -> float:
        """Look once, some seconds later."""
        self.seconds += after
        return self.follower.step()

    def append(self, event: ReleaseEvent = ReleaseEvent.DEPLOYED, about: str = "", **changes: Any) -> int:
        """Write the log's next entry: the last one with changes."""
        number, last = self.log.tail()
        last = last or Release(id="", at=AT, event=ReleaseEvent.WITHDRAWN, version="", use_case=USE_CASE)
        named = {"id": uuid.uuid4().hex, "event": event, "version": about}
        assert self.log.append(number + 1, last.model_copy(update=named | changes))
        return number + 1

    def serve(self, number: int) -> int:
        """Release a version without a trial."""
        _, last = self.log.tail()
        if last is None:
            return self.append(serving=version(number))
        served = last.served(version(number))
        return self.append(**{name: getattr(served, name) for name in ("serving", "before", "trial", "prepare")})

    def try_out(
        self, number: int, phase: Phase = Phase.CANARY, share: float = 1.0, trial: str = "t", **plan: Any
    ) -> int:
        """Put a version on trial."""
        on_trial = OnTrial(id=trial, entry=version(number), plan=Plan(**plan), phase=phase, share=share)
        return self.append(ReleaseEvent(phase.value), str(number), trial=on_trial, prepare=None)

    def beat(self, seconds: float = 15.0) -> None:
        """Renew the lease."""
        self._beat += 1
        self.log.renew(Lease("conductor", self._beat, seconds))

    @property
    def serves(self) -> str | None:
        """The version in service."""
        served = self.answering.in_service
        return served.entry.version if served else None

    @property
    def tries(self) -> str | None:
        """The version on trial, if it takes part."""
        trial = self.answering.trial
        return trial.served.entry.version if trial else None

    @property
    def report(self) -> ReplicaReport:
        """What it said last."""
        (found,) = (report for report in self.log.reports() if report.replica == self.replica)
        return found
