"""A releases folder of a test, and the hand that writes into it as `deploy` and `rollback` do."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

from formats.release import InService, Release, ReleaseEvent
from formats.release_log import ReleaseLog
from formats.request_rows import RequestModel
from formats.rollout_plan import Plan
from include.deployment.conductor import Candidate, Conductor, Outcome
from include.deployment.fleet import Fleet
from include.deployment.pulse import Pulse
from include.deployment.writer import ReleaseWriter, Tail
from stores.store import open_store
from tests.waiting import PATIENCE

USE_CASE = "flight_delay"


class ReleasesFolder:
    """Releases versions of use cases, and waits as a step does for the servers that follow."""

    def __init__(
        self, place: Path | str, *, endpoint: str | None = None, lease: float = 15.0, seconds: float = PATIENCE
    ) -> None:
        self.place = str(place)
        self._lease = lease
        self._seconds = seconds
        self._store = open_store(self.place, endpoint=endpoint)

    def log(self, use_case: str = USE_CASE) -> ReleaseLog:
        return ReleaseLog(self._store, use_case)

    def writer(self, use_case: str = USE_CASE, by: str = "a test") -> ReleaseWriter:
        return ReleaseWriter(self.log(use_case), by)

    def tail(self, use_case: str = USE_CASE) -> Release:
        return self.writer(use_case).tail().release

    def events(self, use_case: str = USE_CASE) -> list[tuple[str, str]]:
        """What happened, newest first: event and version."""
        log = self.log(use_case)
        found = [log.entry(number) for number in range(log.last(), 0, -1)]
        return [(str(one.event), one.version) for one in found if one]

    def conductor(self, use_case: str = USE_CASE, by: str = "a test") -> Conductor:
        writer = self.writer(use_case, by)
        pulse = Pulse(writer.log, seconds=self._lease, look=0.02)
        return Conductor(writer, Fleet(writer.log, seconds=self._seconds, quorum=0.5, pause=pulse.pause), pulse)

    def deploy(self, uri: str, sha256: str, version: str, use_case: str = USE_CASE, by: str = "a test") -> Outcome:
        """Let a version serve, without a trial."""
        conductor = self.conductor(use_case, by)
        return conductor.serve(conductor.writer.tail(), entry(uri, sha256, version, use_case), ReleaseEvent.DEPLOYED)

    def roll_out(
        self,
        uri: str,
        sha256: str,
        version: str,
        plan: Mapping[str, Any] | Plan,
        rows: Sequence[Mapping[str, Any]] = (),
        use_case: str = USE_CASE,
    ) -> Outcome:
        """Let a version serve after its trial, and wait for the end; `RejectedError` if it breaks a limit."""
        conductor = self.conductor(use_case)
        tail = conductor.writer.tail()
        assert tail.release.serving is not None
        candidate = Candidate(
            _model(uri), _model(tail.release.serving.uri), plan if isinstance(plan, Plan) else Plan(**plan), rows
        )
        return conductor.try_out(tail, entry(uri, sha256, version, use_case), candidate)

    def roll_back(
        self,
        use_case: str = USE_CASE,
        *,
        event: ReleaseEvent = ReleaseEvent.ROLLED_BACK,
        why: str = "a person wants it",
    ) -> Outcome:
        """Put the version before back."""
        conductor = self.conductor(use_case, "a person")
        tail = conductor.writer.tail()
        return conductor.serve(tail, tail.release.before[-1], event, ended=event, why=why)

    def abort(self, use_case: str = USE_CASE) -> None:
        """End the release under way."""
        conductor = self.conductor(use_case, "a person")
        conductor.abort(conductor.writer.tail(), "", "a person wants it")

    def withdraw(self, use_case: str = USE_CASE) -> Tail:
        """Let nothing serve, and forget what served before."""
        writer = self.writer(use_case)
        tail = writer.tail()
        changes = {"serving": None, "prepare": None, "trial": None, "before": (), "taken_out": ()}
        return writer.append(tail, ReleaseEvent.WITHDRAWN, "", tail.release.model_copy(update=changes))


def entry(uri: str, sha256: str, version: str, use_case: str = USE_CASE) -> InService:
    return InService(version=version, sha256=sha256, uri=uri, use_case=use_case, since=datetime.now(UTC))


def _model(uri: str) -> RequestModel:
    return RequestModel.open(Path(unquote(urlsplit(uri).path)))
