"""Brings a version into service: every replica prepares it, then it is tried beside the served one, then it serves."""

from __future__ import annotations

import time
import uuid
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from operator import methodcaller
from typing import Any

from formats.comparison import PhaseTally, comparable, compared
from formats.release import InService, OnTrial, ReleaseEvent
from formats.replica_report import ReplicaReport
from formats.request_rows import RequestModel
from formats.rollout_plan import Phase, Plan
from include.deployment import limits
from include.deployment.fleet import Fleet, Settled
from include.deployment.pulse import Pulse
from include.deployment.writer import OvertakenError, ReleaseWriter, Tail
from include.errors import DataError, FaultError, StepError

ROWS_AT_ONCE = 20
"""Sample rows are asked in pieces of this size, as a shadow's requests are."""


class RejectedError(DataError):
    """A version broke a limit of its trial; the version before stays in service."""


@dataclass(frozen=True)
class Candidate:
    """A version to be tried: its model, the served one's, and rows for both where requests are too few."""

    model: RequestModel
    proven: RequestModel
    plan: Plan
    rows: Sequence[Mapping[str, Any]] = ()


@dataclass(frozen=True)
class Outcome:
    """A version that serves: the entry that says so, the replicas that took it over, and the figures of its trial."""

    tail: Tail
    settled: Settled
    remark: str = ""
    metrics: Mapping[str, Any] = field(default_factory=dict)


class Conductor:
    """Releases one version of one use case, from the log's tail on; another writer's entry ends it (`OvertakenError`).

    It can be killed at any moment: a trial without its pulse ends by itself, and the next attempt goes on with it.
    """

    def __init__(
        self, writer: ReleaseWriter, fleet: Fleet, pulse: Pulse, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self.writer = writer
        self.fleet = fleet
        self.pulse = pulse
        self.clock = clock

    def require_quiet(self, tail: Tail, entry: InService) -> None:
        """Refuse while another conductor brings another version into service; one that has died is not waited for."""
        other = tail.release.under_way
        if other is not None and not other.same_file(entry) and self.pulse.other_beats():
            raise FaultError(f"the release of version {other.version} is under way; try again when it has ended")

    def serve(
        self,
        tail: Tail,
        entry: InService,
        event: ReleaseEvent,
        *,
        ended: ReleaseEvent = ReleaseEvent.DEPLOYED,
        why: str = "",
    ) -> Outcome:
        """Let a version serve without a trial; the one before ends as `ended` says, and `why`."""
        return self._promote(self._prepare(tail, entry), entry, event, ended=ended, why=why)

    def try_out(self, tail: Tail, entry: InService, candidate: Candidate, why: str = "") -> Outcome:
        """Let a version serve after its trial beside the served one; `RejectedError` if it breaks a limit."""
        trial = tail.release.trial
        if trial is None or not trial.entry.same_file(entry) or trial.plan != candidate.plan:
            tail = self._prepare(tail, entry)
            trial = OnTrial(id=uuid.uuid4().hex, entry=entry, plan=candidate.plan, phase=Phase.SHADOW)
        run = _TrialRun(self, tail, trial, candidate)
        wrong = run.shadow() or run.canary()
        if wrong:
            gone = run.tail.release.taking_out(entry, ReleaseEvent.REJECTED, wrong, self.writer.now())
            gone = gone.model_copy(update={"prepare": None, "trial": None})
            self.writer.append(run.tail, ReleaseEvent.REJECTED, entry.version, gone, why=wrong, metrics=run.metrics)
            raise RejectedError(wrong)
        return self._promote(run.tail, entry, ReleaseEvent.PROMOTED, why=why, remark=run.remark, metrics=run.metrics)

    def _prepare(self, tail: Tail, entry: InService) -> Tail:
        """Have every replica load a version; what is served does not change."""
        wanted = tail.release.model_copy(update={"prepare": entry, "trial": None})
        tail = self.writer.append(tail, ReleaseEvent.PREPARING, entry.version, wanted)
        self.pulse.beat()
        try:
            self.fleet.settle(tail.number, lambda report: entry.sha256 in (report.prepared, report.serving))
        except StepError as error:
            self.abort(tail, entry.version, str(error))
            raise
        return tail

    def abort(self, tail: Tail, version: str, why: str) -> None:
        """End a release under way: what is served stays."""
        ended = tail.release.model_copy(update={"prepare": None, "trial": None})
        try:
            self.writer.append(tail, ReleaseEvent.ABORTED, version, ended, why=why)
        except OvertakenError:
            return  # somebody else ended it

    def _promote(
        self,
        tail: Tail,
        entry: InService,
        event: ReleaseEvent,
        *,
        ended: ReleaseEvent = ReleaseEvent.DEPLOYED,
        why: str = "",
        remark: str = "",
        metrics: Mapping[str, Any] | None = None,
    ) -> Outcome:
        entry = entry.model_copy(update={"since": self.writer.now(), "event": event, "by": self.writer.actor})
        release = tail.release.served(entry, ended=ended, why=why)
        tail = self.writer.append(tail, event, entry.version, release, why=why or remark, metrics=dict(metrics or {}))
        try:
            settled = self.fleet.settle(tail.number, lambda report: report.serving == entry.sha256)
        except StepError:  # they hold it since it was prepared; a late one follows by itself
            settled = Settled(0, tuple(report.replica for report in self.fleet.live()))
        return Outcome(tail, settled, remark, dict(metrics or {}))


class _TrialRun:
    """One trial: shadow, then canary, each judged by what all replicas saw."""

    def __init__(self, conductor: Conductor, tail: Tail, trial: OnTrial, candidate: Candidate) -> None:
        self.tail = tail
        self.metrics: dict[str, Any] = {}
        self.remark = ""
        self._writer, self._fleet, self._pulse = conductor.writer, conductor.fleet, conductor.pulse
        self._clock = conductor.clock
        self._trial = trial
        self._candidate = candidate
        self._own = PhaseTally()

    def shadow(self) -> str:
        """Compare both versions on the same rows; what is wrong, empty if nothing is."""
        plan = self._candidate.plan
        if self._trial.phase is Phase.CANARY or not plan.shadow_rows or not plan.shadow_seconds:
            return ""
        self._shift(Phase.SHADOW, 0.0)

        def enough(tally: PhaseTally) -> bool:
            return max(tally.compared.proven.rows, tally.compared.trial.rows) >= plan.shadow_rows

        # Requests say more than sample rows, but where nobody asks there is nothing to wait for.
        tally = self._watch(plan.shadow_seconds, enough) if self._asked(self._tally()) else PhaseTally()
        if not enough(tally):
            self._compare_rows()
            tally = self._tally()
        self.metrics["shadow"] = tally.compared.figures()
        wrong = limits.failures(tally.compared.trial, plan.limits, 1)
        if tally.compared.trial.rows >= plan.min_requests:
            wrong = wrong or limits.distribution(tally.compared, plan.limits)
            # With few pieces in a shadow, the slowest say more about the machine than about the model.
            wrong = wrong or limits.latency(tally.compared, plan.limits, [0.5])
        return f"shadow: {'; '.join(wrong)}" if wrong else ""

    def canary(self) -> str:
        """Let it answer its share of the requests; what is wrong, empty if nothing is."""
        plan = self._candidate.plan
        if not comparable(self._candidate.proven, self._candidate.model):
            self.remark = "no canary: it takes other inputs than the version before it"
            return ""
        if not plan.share or not plan.watch_seconds:
            return ""
        self._shift(Phase.CANARY, plan.share)

        def failures(tally: PhaseTally) -> list[str]:
            return limits.failures(tally.answered.trial, plan.limits, plan.min_requests)

        tally = self._watch(plan.watch_seconds, lambda tally: bool(failures(tally)))
        self.metrics["canary"] = tally.answered.figures() | {"share": plan.share}
        self.metrics["canary_same_rows"] = tally.compared.figures()
        wrong = failures(tally)
        if min(tally.answered.trial.requests, tally.answered.proven.requests) >= plan.min_requests:
            wrong = wrong or limits.latency(tally.answered, plan.limits)
        if tally.compared.trial.rows >= plan.min_requests:
            wrong = wrong or limits.distribution(tally.compared, plan.limits)
        return f"canary: {'; '.join(wrong)}" if wrong else ""

    def _shift(self, phase: Phase, share: float) -> None:
        """Begin a phase, unless an earlier attempt did, and wait for the replicas to enter it."""
        self._own = PhaseTally()
        wanted = self._trial.model_copy(update={"phase": phase, "share": share})
        if self.tail.release.trial != wanted:
            event = ReleaseEvent.CANARY if share else ReleaseEvent.SHADOW
            release = self.tail.release.model_copy(update={"prepare": None, "trial": wanted})
            self.tail = self._writer.append(self.tail, event, wanted.entry.version, release)
        self._trial = wanted
        self._pulse.beat(now=True)
        sha256 = wanted.entry.sha256

        def entered(report: ReplicaReport) -> bool:
            return report.on_trial == sha256 or bool(report.error)

        try:
            self._fleet.settle(self.tail.number, entered)
        except StepError:
            return  # one that is late, or cannot take part, answers with the served version

    def _compare_rows(self) -> None:
        """Ask both versions here about the sample rows: evidence where there is no traffic."""
        rows, trial_first = self._candidate.rows, False
        for first in range(0, len(rows), ROWS_AT_ONCE):
            ask = methodcaller("rows", rows[first : first + ROWS_AT_ONCE])
            pair = compared(self._candidate.proven, self._candidate.model, ask, trial_first=trial_first)
            self._own.compared.add(pair)
            trial_first = not trial_first
            self._pulse.beat()

    def _watch(self, at_most: float, seen_enough: Callable[[PhaseTally], bool]) -> PhaseTally:
        """What was seen by when it is enough, the time is up, or nobody asks anything."""
        began = self._clock()
        idle = max(self._candidate.plan.idle_seconds, self._fleet.lag())
        while True:
            if self._writer.log.overtaken(self.tail.number):
                raise OvertakenError(f"the trial of version {self._trial.entry.version} was ended by another release")
            tally, seconds = self._tally(), self._clock() - began
            if seen_enough(tally) or seconds >= (at_most if self._asked(tally) else min(at_most, idle)):
                return tally
            self._pulse.pause()

    def _tally(self) -> PhaseTally:
        """What the replicas and this process saw of the present phase."""
        total = self._fleet.tally(self._trial.name)
        total.add(self._own)
        return total

    @staticmethod
    def _asked(tally: PhaseTally) -> int:
        return tally.answered.proven.requests + tally.answered.trial.requests + tally.waiting
