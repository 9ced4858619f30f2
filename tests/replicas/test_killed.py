"""A process that ends without a word, in any phase of a release: afterwards all agree, and the release can be ended."""

from __future__ import annotations

import signal
import time

import pytest

from formats.release import ReleaseEvent
from tests.replicas.calls import CLIENTS, Calls
from tests.replicas.places import BucketPlace
from tests.replicas.replicas import Replicas
from tests.replicas.stage import Stage

LEASE_SECONDS = 15.0
"""Without its conductor a trial ends by then."""
AWAY_SECONDS = 3.0
"""How long the store is away."""
AT_ONCE_SECONDS = 0.5
PHASES = [ReleaseEvent.PREPARING, ReleaseEvent.SHADOW, ReleaseEvent.CANARY, ReleaseEvent.PROMOTED]

in_each_phase = pytest.mark.parametrize("phase", PHASES, ids=str)
on_each_lake = pytest.mark.parametrize("built", ["3 on a folder", "3 on S3"], indirect=True, scope="session")
on_a_bucket = pytest.mark.parametrize("built", ["3 on S3"], indirect=True, scope="session")


@on_each_lake
@in_each_phase
def test_a_replica_is_killed(stage: Stage, first: str, calls: Calls, phase: ReleaseEvent) -> None:
    # Given a release that has come to a phase
    second, known = stage.nights.champion(), stage.replicas.log.last()
    step = stage.nights.deploy()
    stage.replicas.until_event(phase, known)
    # When a replica is killed, and begins again
    killed = time.time()
    stage.replicas.processes[1].stop(signal.SIGKILL)
    stage.replicas.start()
    # Then the release ends well
    step.ends_well()
    assert_ended(stage.replicas, first, second, known)
    # And no request failed but those that it was answering: at most one of each client
    calls.until_all_answer(second, stage.size)
    calls.stop()
    failed = calls.failed()
    print(
        f"{phase}: {len(failed)} requests failed, {[round(call.ended - killed, 3) for call in failed]} s after the kill"
    )
    assert len(failed) <= CLIENTS
    assert all(abs(call.ended - killed) < AT_ONCE_SECONDS for call in failed), failed


@on_each_lake
@in_each_phase
def test_the_step_that_deploys_is_killed_and_tried_again(
    stage: Stage, first: str, calls: Calls, phase: ReleaseEvent
) -> None:
    # Given a release that has come to a phase
    second, known = stage.nights.champion(), stage.replicas.log.last()
    step = stage.nights.deploy()
    stage.replicas.until_event(phase, known)
    # When its step is killed, and tried again
    step.kill()
    stage.nights.deploy().ends_well()
    # Then the release ends well, and no request failed
    assert_ended(stage.replicas, first, second, known)
    calls.stop()
    assert calls.failed() == []


@on_a_bucket
@in_each_phase
def test_the_store_is_killed(stage: Stage, first: str, calls: Calls, phase: ReleaseEvent) -> None:
    # Given a release that has come to a phase
    assert isinstance(stage.place, BucketPlace)
    second, known = stage.nights.champion(), stage.replicas.log.last()
    step = stage.nights.deploy()
    stage.replicas.until_event(phase, known)
    # When the store is killed, and comes back after a while
    stage.place.server.kill()
    time.sleep(AWAY_SECONDS)
    stage.place.server.start()
    # Then the release ends, or can be tried again
    if step.ended() != 0:
        stage.nights.deploy().ends_well()
    assert_ended(stage.replicas, first, second, known)
    # And no request failed
    calls.stop()
    assert calls.failed() == []


@on_each_lake
def test_a_trial_whose_step_was_killed_ends_by_itself(stage: Stage, first: str, calls: Calls) -> None:
    # Given a version that answers a share of the requests
    second = stage.nights.champion()
    step = stage.nights.deploy(watch=120)
    calls.until_version(second)
    # When the step that watches it is killed, and nobody tries again
    killed = time.time()
    step.kill()
    # Then every replica has left the trial when the lease is over
    time.sleep(max(0.0, killed + LEASE_SECONDS + 3 - time.time()))
    calls.stop()
    over = calls.last_by(second) - killed
    print(f"the last answer of the version on trial: {over:.1f} s after its step was killed")
    assert 0 < over <= LEASE_SECONDS
    assert calls.failed() == []
    # And a person's rollback finds nothing to go back to, while a retry of the step brings the version into service
    stage.nights.deploy().ends_well()
    stage.replicas.until_agreed(second)


def assert_ended(replicas: Replicas, first: str, second: str, known: int) -> None:
    """The log says that the second version was promoted, once, and every replica serves it."""
    replicas.until_agreed(second)
    tail = replicas.tail()
    assert tail.trial is None
    assert tail.prepare is None
    assert [one.version for one in tail.before] == [first]
    assert [event for event, _ in replicas.events(known)].count(ReleaseEvent.PROMOTED) == 1
