"""The split made by the server itself: all workers follow what one of them writes into the state folder."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Any

from formats.rollout_plan import Phase
from serving.errors import EndedError, TrialError, UnacknowledgedError
from serving.rollout.comparison import PhaseTally
from serving.rollout.deployments import DeploymentEvent, DeploymentRecord, History
from serving.rollout.rollout import Rollout
from serving.rollout.state import StateFolder
from serving.rollout.trial import phase_name

END_SECONDS = 2.0
"""How long the end of a rollout waits for the workers: it has ended anyway, and a hanging worker may be the cause."""

log = logging.getLogger("serving")


class SharedTraffic:
    """`Traffic` of one rollout over the workers of one server; `take_over` makes this worker read the change."""

    def __init__(self, folder: StateFolder, history: History, rollout: Rollout, take_over: Callable[[], None]) -> None:
        self._folder = folder
        self._history = history
        self._id = rollout.id
        self._take_over = take_over

    def shift(self, share: float) -> None:
        """Let the version on trial answer that share of the requests in every worker."""
        with self._folder.locked():
            phase = Phase.CANARY if share else Phase.SHADOW
            serial = self._folder.write(self._mine().to(phase, datetime.now(UTC), share=share))
        self.settle(serial)

    def settle(self, serial: int) -> None:
        """Return when every worker has applied a change; `TrialError` if one cannot, or does not in time."""
        self._take_over()
        for report in self._folder.wait(serial):
            if report.error:
                raise TrialError(f"a worker cannot load it: {report.error}")

    def observe(self) -> PhaseTally:
        """What all workers have seen in the present phase."""
        rollout = self._mine()
        total = PhaseTally()
        for report in self._folder.reports().values():
            if report is not None and report.phase == phase_name(rollout):
                total.add(report.tally)
            if report is not None and report.error:
                raise TrialError(f"a worker cannot load it: {report.error}")
        return total

    def promote(self, metrics: Mapping[str, Any], reason: str = "") -> None:
        """Put the version into service in every worker, and note it; a late worker follows by itself."""
        now = datetime.now(UTC)
        with self._folder.locked():
            rollout = self._mine()
            entry = rollout.entry.model_copy(update={"since": now})
            # What is served first: a crash between the two lines is a promotion, see Service._recover.
            self._folder.serve(entry)
            rollout = rollout.model_copy(update={"entry": entry}).to(
                Phase.PROMOTED, now, reason=reason, metrics=metrics
            )
            serial = self._folder.write(rollout)
            event = DeploymentEvent.PROMOTED if rollout.plan and rollout.instead_of else DeploymentEvent.DEPLOYED
            self._history.add(DeploymentRecord.of(entry, event, now, rollout=rollout, reason=reason, metrics=metrics))
        self._take_over()
        self._folder.wait(serial)

    def withdraw(self, reason: str, metrics: Mapping[str, Any]) -> None:
        """End the rollout: the version broke a limit."""
        self.end(Phase.ROLLED_BACK, DeploymentEvent.ROLLED_BACK, reason, metrics)

    def abort(self, reason: str) -> None:
        """End the rollout: it was cut short."""
        self.end(Phase.ABORTED, DeploymentEvent.ABORTED, reason, {})

    def end(self, phase: Phase, event: DeploymentEvent, reason: str, metrics: Mapping[str, Any]) -> None:
        """End the rollout, and note how; `EndedError` if it has ended already."""
        now = datetime.now(UTC)
        with self._folder.locked():
            rollout = self._mine().to(phase, now, reason=reason, metrics=metrics)
            serial = self._folder.write(rollout)
            self._history.add(
                DeploymentRecord.of(rollout.entry, event, now, rollout=rollout, reason=reason, metrics=rollout.metrics)
            )
        self._take_over()
        try:
            self._folder.wait(serial, END_SECONDS)
        except UnacknowledgedError as error:  # it has ended anyway
            log.warning("version %s: %s", rollout.entry.version, error)

    def _mine(self) -> Rollout:
        rollout = self._folder.change().rollout
        if rollout is None or rollout.id != self._id or not rollout.under_way:
            raise EndedError("the rollout was ended by another deployment")
        return rollout
