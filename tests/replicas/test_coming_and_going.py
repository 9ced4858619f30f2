"""Replicas come and go while versions do."""

from __future__ import annotations

import time

from tests.replicas.calls import Calls
from tests.replicas.stage import Stage


def test_a_replica_that_joins_in_the_middle_of_a_canary_takes_part(stage: Stage, first: str, calls: Calls) -> None:
    # Given a canary of all replicas but one, which does not run
    late = stage.replicas.processes[2]
    late.stop()
    second = stage.nights.champion()
    step = stage.nights.deploy(watch=20)
    calls.until_version(second)
    # When that one starts
    started = time.time()
    stage.replicas.start()
    # Then it answers with both versions, as the others do
    calls.until_answer("r2", first, since=started)
    calls.until_answer("r2", second, since=started)
    assert step.runs
    # And serves the promoted one; no request failed
    step.ends_well()
    stage.replicas.until_agreed(second)
    calls.stop()
    assert calls.failed() == []


def test_replicas_that_restart_one_after_another_lose_no_request(stage: Stage, first: str, calls: Calls) -> None:
    # Given replicas under load
    for process in stage.replicas.processes:
        # When one is told to end, and starts again before the next one is told
        process.stop()
        stage.replicas.start()
        stage.replicas.balancer.until_up(stage.size)
    # Then no request failed, and all answer
    calls.until_all_answer(first, stage.size, since=time.time())
    calls.stop()
    assert calls.failed() == []


def test_replicas_that_restart_in_the_middle_of_a_canary_lose_no_request(
    stage: Stage, first: str, calls: Calls
) -> None:
    # Given a canary
    second = stage.nights.champion()
    step = stage.nights.deploy(watch=25)
    calls.until_version(second)
    # When all replicas are restarted, one after another
    for process in stage.replicas.processes:
        process.stop()
        stage.replicas.start()
        stage.replicas.balancer.until_up(stage.size)
    # Then the release ends well, and no request failed
    step.ends_well()
    stage.replicas.until_agreed(second)
    calls.stop()
    assert calls.failed() == []
