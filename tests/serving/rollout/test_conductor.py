from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pytest
from serving.rollout.comparison import Pair, PhaseTally, Side
from serving.rollout.conductor import Conductor

from formats.answers.measured import by_level
from formats.rollout_plan import Limits, Plan
from serving.errors import EndedError, TrialError

PLAN = Plan(shadow_rows=100, shadow_seconds=5, share=0.2, watch_seconds=10, idle_seconds=1, min_requests=20)
GOOD = np.linspace(0.05, 0.5, 100)


def asked(requests: int, answers: Any = GOOD, *, failures: int = 0, seconds: float = 0.001) -> Side:
    side = Side()
    for _ in range(requests):
        side.note(by_level(np.asarray(answers)), seconds)
    for _ in range(failures):
        side.fail()
    return side


def compared(before: Any, after: Any, requests: int = 1) -> Pair:
    """Both versions' answers to the same rows."""
    moved = float(np.abs(np.subtract(before, after)).sum()) * requests
    return Pair(asked(requests, before), asked(requests, after), moved)


@dataclass
class Rehearsal:
    """Traffic of a play: what is seen in each phase, and what was done."""

    shadow: PhaseTally = field(default_factory=lambda: PhaseTally(Pair(asked(1), asked(1)), Pair(asked(50))))
    canary: PhaseTally = field(
        default_factory=lambda: PhaseTally(Pair(asked(30), asked(30)), Pair(asked(80, [0.2]), asked(20, [0.2])))
    )
    done: list[Any] = field(default_factory=list)
    seconds: float = 0.0
    breaks: Exception | None = None

    def shift(self, share: float) -> None:
        self.done.append(share)

    def observe(self) -> PhaseTally:
        if self.breaks is not None:
            raise self.breaks
        return self.canary if self.done[-1] else self.shadow

    def promote(self, metrics: Mapping[str, Any], reason: str = "") -> None:
        self.done.append(("promoted", reason, sorted(metrics)))

    def withdraw(self, reason: str, metrics: Mapping[str, Any]) -> None:
        self.done.append(("withdrawn", reason, sorted(metrics)))

    def play(self, plan: Plan = PLAN, *, comparable: bool = True) -> list[Any]:
        conductor = Conductor(plan, self, comparable=comparable, clock=lambda: self.seconds, pause=self._pause)
        conductor.run()
        return self.done

    def _pause(self, seconds: float) -> None:
        self.seconds += seconds


def test_a_good_version_is_shadowed_then_tried_then_promoted() -> None:
    traffic = Rehearsal()

    assert traffic.play() == [0, 0.2, ("promoted", "", ["canary", "canary_same_rows", "shadow"])]
    assert traffic.seconds == pytest.approx(PLAN.watch_seconds, abs=0.2)


def test_a_version_that_answers_otherwise_gets_no_request_at_all() -> None:
    traffic = Rehearsal(shadow=PhaseTally(compared(GOOD, GOOD + 0.45)))

    shift, (end, reason, _) = traffic.play()

    assert (shift, end) == (0, "withdrawn")
    assert reason.startswith("shadow: its answers are distributed differently: PSI")


def test_a_version_that_fails_in_the_shadow_gets_no_request_at_all() -> None:
    traffic = Rehearsal(shadow=PhaseTally(Pair(asked(20), asked(18, failures=2))))

    assert traffic.play()[-1][:2] == ("withdrawn", "shadow: 2 of 20 answers failed, at most 1.0% may")


def test_a_canary_that_fails_is_withdrawn_at_once() -> None:
    traffic = Rehearsal(canary=PhaseTally(answered=Pair(asked(9), asked(2, failures=1))))

    assert traffic.play()[-1][:2] == ("withdrawn", "canary: 1 of 3 answers failed, at most 1.0% may")
    assert traffic.seconds < 1


@pytest.mark.parametrize(
    ("canary", "says"),
    [
        (PhaseTally(answered=Pair(asked(30), asked(30, seconds=0.2))), "canary: it is too slow: "),
        (
            PhaseTally(compared(GOOD, GOOD + 0.45, 30), Pair(asked(30), asked(30))),
            "canary: its answers are distributed differently",
        ),
        (
            PhaseTally(compared(GOOD, [0.3] * 100, 30), Pair(asked(30), asked(30))),
            "canary: its answers are distributed differently: PSI 6",
        ),
    ],
)
def test_a_canary_that_does_not_hold_its_limits_is_withdrawn_after_the_watch(canary: PhaseTally, says: str) -> None:
    traffic = Rehearsal(canary=canary)

    end, reason, _ = traffic.play()[-1]

    assert (end, reason.startswith(says)) == ("withdrawn", True), reason
    assert traffic.seconds >= PLAN.watch_seconds


def test_a_few_rows_that_differ_are_no_evidence() -> None:
    few = PhaseTally(compared([0.1] * 19, [0.9] * 19))

    assert Rehearsal(shadow=few, canary=few).play()[-1][0] == "promoted"


def test_a_few_slow_requests_are_no_evidence() -> None:
    traffic = Rehearsal(canary=PhaseTally(answered=Pair(asked(30), asked(19, seconds=0.2))))

    assert traffic.play()[-1][0] == "promoted"


def test_without_any_request_nobody_waits_for_long() -> None:
    traffic = Rehearsal(shadow=PhaseTally(), canary=PhaseTally())

    assert traffic.play()[-1][0] == "promoted"
    assert traffic.seconds == pytest.approx(2 * PLAN.idle_seconds, abs=0.2)


def test_the_shadow_of_a_trickle_of_requests_ends_in_time() -> None:
    traffic = Rehearsal(shadow=PhaseTally(Pair(asked(1, [0.2, 0.4]), asked(1, [0.2, 0.4])), Pair(asked(1, [0.2]))))

    assert traffic.play(PLAN.model_copy(update={"share": 0.0}))[-1][0] == "promoted"
    assert traffic.seconds == pytest.approx(PLAN.shadow_seconds, abs=0.2)


def test_a_version_with_other_inputs_is_promoted_by_its_shadow_and_that_is_said() -> None:
    assert Rehearsal().play(comparable=False) == [
        0,
        ("promoted", "no canary: it takes other inputs than the version before it", ["shadow"]),
    ]


def test_a_plan_may_leave_out_the_shadow_or_the_canary() -> None:
    assert Rehearsal().play(PLAN.model_copy(update={"shadow_rows": 0}))[:1] == [0.2]
    assert Rehearsal().play(PLAN.model_copy(update={"share": 0.0}))[0] == 0
    assert Rehearsal().play(Plan(shadow_rows=0, share=0)) == [("promoted", "", [])]


def test_wider_limits_let_more_pass() -> None:
    wide = Limits(psi=100, mean_shift=1, spread=0)
    traffic = Rehearsal(shadow=PhaseTally(compared(GOOD, GOOD + 0.45)))

    assert traffic.play(PLAN.model_copy(update={"limits": wide}))[-1][0] == "promoted"


def test_a_worker_that_cannot_load_the_version_ends_the_rollout() -> None:
    traffic = Rehearsal(breaks=TrialError("a worker cannot load it: gone"))

    assert traffic.play()[-1][:2] == ("withdrawn", "a worker cannot load it: gone")


def test_a_rollout_that_someone_else_ended_is_left_alone() -> None:
    traffic = Rehearsal(breaks=EndedError("another deployment"))

    with pytest.raises(EndedError):
        traffic.play()
    assert traffic.done == [0]
