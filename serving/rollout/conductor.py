"""Takes a version from shadow through canary to its end, judged by the traffic."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from formats.rollout_plan import Plan
from serving.errors import TrialError
from serving.rollout import comparison
from serving.rollout.comparison import PhaseTally
from serving.rollout.traffic import Traffic

PAUSE_SECONDS = 0.05


class Conductor:
    """Drives one rollout; `clock` and `pause` are for tests.

    `comparable`: whether both versions take exactly the same inputs. If not, neither can answer a request made for the
    other: there is no canary then, and the shadow compares sample rows only.
    """

    def __init__(
        self,
        plan: Plan,
        traffic: Traffic,
        *,
        comparable: bool = True,
        clock: Callable[[], float] = time.monotonic,
        pause: Callable[[float], None] = time.sleep,
    ) -> None:
        self._plan = plan
        self._traffic = traffic
        self._share = plan.share if comparable else 0.0
        self._remark = "" if comparable else "no canary: it takes other inputs than the version before it"
        self._clock = clock
        self._pause = pause
        self._metrics: dict[str, Any] = {}

    def run(self) -> None:
        """Promote or withdraw, with retries; `EndedError` if another request ended the rollout."""
        try:
            wrong = self._shadow() or self._canary()
        except TrialError as error:
            wrong = str(error)
        if wrong:
            self._traffic.withdraw(wrong, self._metrics)
        else:
            self._traffic.promote(self._metrics, self._remark)

    def _shadow(self) -> str:
        """Compare both versions on the same rows; what is wrong, empty if nothing is."""
        plan = self._plan
        if not plan.shadow_rows or not plan.shadow_seconds:
            return ""
        self._traffic.shift(0)
        tally = self._watch(
            plan.shadow_seconds,
            lambda tally: max(tally.compared.proven.rows, tally.compared.trial.rows) >= plan.shadow_rows,
        )
        self._metrics["shadow"] = tally.compared.figures()
        wrong = comparison.failures(tally.compared.trial, plan.limits, 1)
        if tally.compared.trial.rows >= plan.min_requests:
            wrong = wrong or comparison.distribution(tally.compared, plan.limits)
            # With few pieces in a shadow, the slowest say more about the machine than about the model.
            wrong = wrong or comparison.latency(tally.compared, plan.limits, [0.5])
        return f"shadow: {'; '.join(wrong)}" if wrong else ""

    def _canary(self) -> str:
        """Let it answer its share of the requests; what is wrong, empty if nothing is."""
        plan = self._plan
        if not self._share or not plan.watch_seconds:
            return ""
        self._traffic.shift(self._share)

        def failures(tally: PhaseTally) -> list[str]:
            return comparison.failures(tally.answered.trial, plan.limits, plan.min_requests)

        tally = self._watch(plan.watch_seconds, lambda tally: bool(failures(tally)))
        self._metrics["canary"] = tally.answered.figures() | {"share": self._share}
        self._metrics["canary_same_rows"] = tally.compared.figures()
        wrong = failures(tally)
        if min(tally.answered.trial.requests, tally.answered.proven.requests) >= plan.min_requests:
            wrong = wrong or comparison.latency(tally.answered, plan.limits)
        if tally.compared.trial.rows >= plan.min_requests:
            wrong = wrong or comparison.distribution(tally.compared, plan.limits)
        return f"canary: {'; '.join(wrong)}" if wrong else ""

    def _watch(self, at_most: float, seen_enough: Callable[[PhaseTally], bool]) -> PhaseTally:
        """What was seen by when it is enough, the time is up, or nobody asks anything."""
        began = self._clock()
        while True:
            tally, seconds = self._traffic.observe(), self._clock() - began
            asked = tally.answered.proven.requests + tally.answered.trial.requests + tally.waiting
            if seen_enough(tally) or seconds >= (at_most if asked else min(at_most, self._plan.idle_seconds)):
                return tally
            self._pause(PAUSE_SECONDS)
