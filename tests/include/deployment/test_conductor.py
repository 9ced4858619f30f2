from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from formats.answers.measured import by_level
from formats.comparison import Pair, PhaseTally, Side
from formats.release import Release, ReleaseEvent
from formats.request_rows import RequestModel
from formats.rollout_plan import Limits, Phase, Plan
from include.deployment.conductor import Candidate, RejectedError
from include.deployment.fleet import RefusedError
from include.deployment.writer import OvertakenError
from include.errors import FaultError
from tests.include.deployment.stage import Stage, version
from tests.portable_files import INPUTS, portable_bytes

PLAN = Plan(shadow_rows=100, shadow_seconds=5, share=0.2, watch_seconds=10, idle_seconds=1, min_requests=20)
GOOD = np.linspace(0.05, 0.5, 100)
ROWS = [{"distance": number / 10 - 2.5, "hour": number % 24, "carrier": "AA"} for number in range(120)]
ALIKE = RequestModel.load(portable_bytes())
OTHER_INPUTS = RequestModel.load(portable_bytes(inputs=INPUTS[:2], weights=(0.5, -0.25)))
DULL = RequestModel.load(portable_bytes(weights=(0.0, 0.0, 0.0)))


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


def seen(shadow: PhaseTally | None = None, canary: PhaseTally | None = None) -> Callable[[Release], PhaseTally]:
    """What a replica saw of either phase; by default two good versions under load."""
    first = shadow or PhaseTally(Pair(asked(1), asked(1)), Pair(asked(50)))
    then = canary or PhaseTally(Pair(asked(30), asked(30)), Pair(asked(80, [0.2]), asked(20, [0.2])))

    def sees(release: Release) -> PhaseTally:
        assert release.trial is not None
        return first if release.trial.phase is Phase.SHADOW else then

    return sees


def serving(replicas: int = 1, **more: Any) -> Stage:
    """A stage on which version 1 serves."""
    stage = Stage(replicas, **more)
    stage.conductor.serve(stage.writer.tail(), version(1), ReleaseEvent.DEPLOYED)
    return stage


def try_out(stage: Stage, plan: Plan = PLAN, *, model: RequestModel = ALIKE, rows: Any = ()) -> list[str]:
    """Try version 2; what happened."""
    stage.conductor.try_out(stage.writer.tail(), version(2), Candidate(model, ALIKE, plan, rows))
    return stage.events()[2:]


PROMOTED = ["preparing 2", "shadow 2", "canary 2", "promoted 2"]


def test_a_good_version_is_shadowed_then_tried_then_promoted() -> None:
    stage = serving(3)
    for player in stage.players:
        player.sees = seen()

    assert try_out(stage) == PROMOTED
    newest = stage.writer.tail().release
    assert newest.serving is not None
    assert (newest.serving.version, newest.serving.by, newest.before[-1].version) == ("2", "a night", "1")
    assert newest.metrics["canary"]["trial_requests"] == 3 * 20
    assert stage.time >= PLAN.watch_seconds


@pytest.mark.parametrize(
    ("shadow", "says"),
    [
        (PhaseTally(compared(GOOD, GOOD + 0.45)), "shadow: its answers are distributed differently: PSI"),
        (PhaseTally(Pair(asked(20), asked(18, failures=2))), "shadow: 2 of 20 answers failed, at most 1.0% may"),
    ],
)
def test_a_version_that_is_bad_in_the_shadow_gets_no_request_at_all(shadow: PhaseTally, says: str) -> None:
    stage = serving()
    stage.players[0].sees = seen(shadow=shadow)

    with pytest.raises(RejectedError, match=says):
        try_out(stage)

    assert stage.events()[2:] == ["preparing 2", "shadow 2", "rejected 2"]
    newest = stage.writer.tail().release
    assert (newest.trial, newest.serving and newest.serving.version) == (None, "1")
    assert newest.taken_out[-1].entry.version == "2"


def test_a_canary_that_fails_is_rejected_at_once() -> None:
    stage = serving()
    stage.players[0].sees = seen(canary=PhaseTally(answered=Pair(asked(9), asked(2, failures=1))))

    with pytest.raises(RejectedError, match=r"canary: 1 of 3 answers failed, at most 1\.0% may"):
        try_out(stage)

    assert stage.time < PLAN.watch_seconds


@pytest.mark.parametrize(
    ("canary", "says"),
    [
        (PhaseTally(answered=Pair(asked(30), asked(30, seconds=0.2))), "canary: it is too slow: "),
        (
            PhaseTally(compared(GOOD, GOOD + 0.45, 30), Pair(asked(30), asked(30))),
            "canary: its answers are distributed",
        ),
        (PhaseTally(compared(GOOD, [0.3] * 100, 30), Pair(asked(30), asked(30))), "canary: its answers are .* PSI 6"),
    ],
)
def test_a_canary_that_does_not_hold_its_limits_is_rejected_after_the_watch(canary: PhaseTally, says: str) -> None:
    stage = serving()
    stage.players[0].sees = seen(canary=canary)

    with pytest.raises(RejectedError, match=says):
        try_out(stage)

    assert stage.time >= PLAN.watch_seconds


def test_a_few_rows_that_differ_and_a_few_slow_requests_are_no_evidence() -> None:
    few = PhaseTally(compared([0.1] * 19, [0.9] * 19), Pair(asked(30), asked(19, seconds=0.2)))
    stage = serving()
    stage.players[0].sees = seen(shadow=few, canary=few)

    assert try_out(stage) == PROMOTED


def test_where_nobody_asks_the_sample_rows_decide_and_nobody_waits_for_long() -> None:
    good, dull = serving(), serving()

    assert try_out(good, rows=ROWS) == PROMOTED
    assert good.writer.tail().release.metrics["shadow"]["rows"] == len(ROWS)
    assert good.time < PLAN.watch_seconds
    with pytest.raises(RejectedError, match="hardly tells rows apart"):
        try_out(dull, model=DULL, rows=ROWS)


def test_a_version_with_other_inputs_is_promoted_by_its_shadow_and_that_is_said() -> None:
    stage = serving()

    assert try_out(stage, model=OTHER_INPUTS, rows=ROWS) == ["preparing 2", "shadow 2", "promoted 2"]
    assert stage.writer.tail().release.why == "no canary: it takes other inputs than the version before it"


def test_a_plan_may_leave_out_the_shadow_or_the_canary() -> None:
    assert try_out(serving(), PLAN.model_copy(update={"shadow_rows": 0})) == ["preparing 2", "canary 2", "promoted 2"]
    assert try_out(serving(), PLAN.model_copy(update={"share": 0.0})) == ["preparing 2", "shadow 2", "promoted 2"]
    assert try_out(serving(), Plan(shadow_rows=0, share=0)) == ["preparing 2", "promoted 2"]


def test_wider_limits_let_more_pass() -> None:
    stage = serving()
    stage.players[0].sees = seen(shadow=PhaseTally(compared(GOOD, GOOD + 0.45)))

    assert try_out(stage, PLAN.model_copy(update={"limits": Limits(psi=100, mean_shift=1, spread=0)})) == PROMOTED


def test_a_file_that_one_replica_refuses_changes_nothing_anywhere() -> None:
    stage = serving(3)
    stage.players[1].error, stage.players[1].refused = "version 2 cannot be loaded: it is no ONNX file", True

    with pytest.raises(RefusedError, match="replica-1: version 2 cannot be loaded: it is no ONNX file"):
        try_out(stage)

    assert stage.events()[2:] == ["preparing 2", "aborted 2"]
    assert stage.writer.tail().release.left("2") is None


def test_one_replica_that_cannot_fetch_a_file_holds_up_nobody_for_ever_but_most_of_them_do() -> None:
    one, most = serving(3), serving(3)
    one.players[0].error = "version 2 cannot be loaded: the store is away"
    for player in most.players[:2]:
        player.error = "version 2 cannot be loaded: the store is away"

    assert try_out(one) == PROMOTED
    assert one.time >= 30
    with pytest.raises(FaultError, match=r"1 of 3 replicas are ready after 30 s; replica replica-0: .*store is away"):
        try_out(most)


def test_a_replica_that_was_killed_is_not_waited_for() -> None:
    stage = serving(3)
    stage.players[2].silent = True

    outcome = stage.conductor.serve(stage.writer.tail(), version(2), ReleaseEvent.DEPLOYED)

    assert (outcome.settled.ready, outcome.settled.silent) == (2, ("replica-2",))
    assert stage.time < 20


def test_where_there_is_no_replica_the_entry_is_enough() -> None:
    stage = serving(0)

    assert stage.conductor.serve(stage.writer.tail(), version(2), ReleaseEvent.DEPLOYED).settled.ready == 0
    assert stage.time == 0


def test_what_a_replica_saw_before_it_was_killed_counts_until_the_judgement() -> None:
    # Given a replica on which the version failed, and which was killed then
    stage = serving(2)
    stage.players[0].sees = seen(canary=PhaseTally(answered=Pair(asked(9), asked(2, failures=1))))
    stage.players[1].sees = seen()

    def kill_in_the_canary() -> None:
        trial = stage.writer.tail().release.trial
        stage.players[0].silent = trial is not None and trial.phase is Phase.CANARY and stage.time > 3
        if stage.players[0].silent:
            stage.players[0].speak()

    stage.meanwhile = kill_in_the_canary

    with pytest.raises(RejectedError, match="canary: 1 of"):
        try_out(stage)


def test_a_rollback_in_the_middle_of_a_trial_is_never_undone() -> None:
    # Given a trial, and a person who withdraws everything meanwhile
    stage = serving()
    stage.players[0].sees = seen()
    person = stage.writer

    def step_in() -> None:
        tail = person.tail()
        if tail.release.trial is not None and tail.release.trial.phase is Phase.CANARY:
            person.append(
                tail, ReleaseEvent.WITHDRAWN, "1", tail.release.model_copy(update={"serving": None, "trial": None})
            )

    stage.meanwhile = step_in

    # When the conductor goes on, Then it gives up, and what the person said stays
    with pytest.raises(OvertakenError, match="the trial of version 2 was ended by another release"):
        try_out(stage)
    assert stage.events()[-1] == "withdrawn 1"


def test_who_is_overtaken_while_replicas_prepare_gives_up_at_once() -> None:
    # Given replicas that prepare a version for long, and a person who ends that meanwhile
    stage = serving()
    stage.players[0].silent = True
    person, overtaken = stage.writer, []

    def step_in() -> None:
        tail = person.tail()
        if tail.release.prepare is not None:
            person.append(tail, ReleaseEvent.ABORTED, "2", tail.release.model_copy(update={"prepare": None}))
            overtaken.append(stage.time)

    stage.meanwhile = step_in

    # When the conductor waits for them, Then it gives up, and appends nothing
    with pytest.raises(OvertakenError, match="overtaken by another release"):
        try_out(stage)
    assert stage.events()[2:] == ["preparing 2", "aborted 2"]
    assert stage.time - overtaken[0] < 1


def test_a_trial_is_gone_on_with_by_the_next_attempt_and_keeps_its_counts() -> None:
    # Given a conductor that ended in the canary
    stage = serving()
    stage.players[0].sees = seen()

    def die() -> None:
        if (trial := stage.writer.tail().release.trial) is not None and trial.phase is Phase.CANARY:
            raise KeyboardInterrupt

    stage.meanwhile = die
    with pytest.raises(KeyboardInterrupt):
        try_out(stage)
    begun = stage.writer.tail().release.trial

    # When the next one tries the same version
    stage.meanwhile = lambda: None
    events = try_out(stage)

    # Then it is the same trial
    assert begun is not None
    assert events == PROMOTED
    assert stage.writer.tail().release.metrics["canary"]["trial_requests"] == 20


def test_a_conductor_that_lives_is_left_alone_and_a_dead_one_is_not_waited_for_long() -> None:
    # Given version 2 in preparation, by a conductor that renews its lease
    stage = serving()
    tail = stage.writer.tail()
    prepared = tail.release.model_copy(update={"prepare": version(2)})
    tail = stage.writer.append(tail, ReleaseEvent.PREPARING, "2", prepared)
    other = Stage(0).pulse
    other._log = stage.log
    beats = iter(range(10_000))
    stage.meanwhile = lambda: other.beat(now=bool(next(beats) % 4 == 0))
    other.beat(now=True)

    # Then another version is told to wait, and the same one is not
    with pytest.raises(FaultError, match="the release of version 2 is under way; try again when it has ended"):
        stage.conductor.require_quiet(tail, version(3))
    stage.conductor.require_quiet(tail, version(2))

    # And once it is dead, the other one may go on
    stage.meanwhile = lambda: None
    began = stage.time
    stage.conductor.require_quiet(tail, version(3))
    assert stage.time - began <= 16
