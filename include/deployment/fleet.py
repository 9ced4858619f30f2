"""The replicas of a use case, as their reports tell: who lives, who holds a version, what they saw of a trial."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from formats.comparison import PhaseTally
from formats.release_log import ReleaseLog
from formats.replica_report import ReplicaReport
from include.deployment.writer import OvertakenError
from include.errors import DataError, FaultError

LIVE_SECONDS = 90.0
"""A replica that has said nothing for so long is gone: it speaks every half minute, and clocks differ by seconds."""
QUIET_SECONDS = 3.0
"""How long a replica may take to speak after it should have looked; a silent one is not waited for."""


class RefusedError(DataError):
    """A replica cannot serve a file, and never will."""


@dataclass(frozen=True)
class Settled:
    """How many live replicas are ready, and which are silent."""

    ready: int
    silent: tuple[str, ...]


class Fleet:
    """Waits for replicas at most `seconds`; then `quorum` of those that speak is enough.

    `pause` is called between two looks, `clock` counts seconds, and `now` is the time that reports are compared with.
    """

    def __init__(
        self,
        log: ReleaseLog,
        *,
        seconds: float,
        quorum: float,
        pause: Callable[[], None],
        clock: Callable[[], float] = time.monotonic,
        now: Callable[[], float] = time.time,
    ) -> None:
        self._log = log
        self._seconds = seconds
        self._quorum = quorum
        self._pause = pause
        self._clock = clock
        self._now = now

    def live(self) -> list[ReplicaReport]:
        """The reports of the replicas that live."""
        oldest = self._now() - LIVE_SECONDS
        return [report for report in self._log.reports() if report.at >= oldest and not report.left]

    def settle(self, number: int, ready: Callable[[ReplicaReport], bool]) -> Settled:
        """Return when every live replica has reached entry `number` and is ready.

        Silent ones are left out after a while. Raises `RefusedError` when one cannot serve the file, `FaultError` when
        fewer than the quorum are ready in time, and `OvertakenError` when there is a newer entry, which they follow.
        """
        began = self._clock()
        while True:
            live = self.live()
            reached = [report for report in live if report.entry >= number]
            if refused := next((report for report in reached if report.refused), None):
                raise RefusedError(f"replica {refused.replica}: {refused.error}")
            waited = self._clock() - began
            asked = live if waited < _silence(live) else reached
            done = [report for report in reached if ready(report)]
            silent = tuple(report.replica for report in live if report.entry < number)
            if len(done) == len(asked):
                return Settled(len(done), silent)
            if self._log.overtaken(number):
                raise OvertakenError(f"entry {number} was overtaken by another release; try again")
            if waited >= self._seconds:
                if len(done) >= self._quorum * len(asked):
                    return Settled(len(done), silent)
                raise FaultError(_too_few(done, asked, self._seconds))
            self._pause()

    def tally(self, phase: str) -> PhaseTally:
        """What all replicas saw of a phase, those included that have ended since."""
        total = PhaseTally()
        for report in self._log.reports():
            if report.phase == phase:
                total.add(report.tally)
        return total

    def lag(self) -> float:
        """Seconds after which what a live replica saw is in its report."""
        return 2 * max((report.every for report in self.live()), default=0.0)


def _silence(live: Sequence[ReplicaReport]) -> float:
    return 2 * max((report.every for report in live), default=0.0) + QUIET_SECONDS


def _too_few(done: Sequence[ReplicaReport], asked: Sequence[ReplicaReport], seconds: float) -> str:
    late = next(report for report in asked if report not in done)
    why = late.error or "it still loads"
    return (
        f"{len(done)} of {len(asked)} replicas are ready after {seconds:g} s; replica {late.replica}: {why}; "
        "look at its log (NIGHTSHIFT_RELEASE_SECONDS, NIGHTSHIFT_RELEASE_QUORUM)"
    )
