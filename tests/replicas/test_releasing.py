"""Versions come and go under load: no request fails, and every answer names the version that gave it."""

from __future__ import annotations

import time

import pytest

from formats.release import ReleaseEvent
from tests.replicas.calls import Calls
from tests.replicas.nights import DISTORTED
from tests.replicas.stage import Stage

AGREE_SECONDS = 2.0
"""Outside a trial, replicas that reach the log agree by then."""
ROLLBACK_SECONDS = 5.0

pytestmark = pytest.mark.parametrize(
    "built",
    ["3 on a folder", "3 on S3", "10 on a folder, as they come", "10 on S3, as they come"],
    indirect=True,
    scope="session",
)


def test_a_version_is_prepared_tried_and_promoted_everywhere(stage: Stage, first: str, calls: Calls) -> None:
    # Given a version that answers, and a new champion that answers nearly the same
    second, known = stage.nights.champion(), stage.replicas.log.last()
    # When the night deploys it
    stage.nights.deploy().ends_well()
    # Then it went through all phases
    happened = [event for event, _ in stage.replicas.events(known)]
    assert happened == [ReleaseEvent.PREPARING, ReleaseEvent.SHADOW, ReleaseEvent.CANARY, ReleaseEvent.PROMOTED]
    # And every replica serves it; meanwhile each of them answered with the one or the other
    stage.replicas.until_agreed(second)
    calls.until_all_answer(second, stage.size)
    seen = calls.stop()
    assert {call.version for call in seen} == {first, second}
    assert calls.failed() == []
    # And replicas agreed in time
    promoted = stage.replicas.happened(ReleaseEvent.PROMOTED, known)
    assert promoted is not None
    assert calls.last_by(first) - promoted.at.timestamp() <= AGREE_SECONDS


def test_a_version_with_distorted_answers_is_taken_out_by_itself(stage: Stage, first: str, calls: Calls) -> None:
    # Given a champion whose answers are far from those of the version in service
    distorted, known = stage.nights.champion(DISTORTED), stage.replicas.log.last()
    # When the night deploys it
    step = stage.nights.deploy()
    # Then it is rejected before anybody sees an answer of it
    assert step.ended() != 0
    assert f"version {distorted} is rolled back, version {first} stays in service" in step.said()
    assert [event for event, _ in stage.replicas.events(known)][-1] is ReleaseEvent.REJECTED
    stage.replicas.until_agreed(first)
    # And a retry leaves it out
    stage.nights.deploy().ends_well()
    assert stage.replicas.agreed(first)
    assert {call.version for call in calls.stop()} == {first}
    assert calls.failed() == []


def test_a_person_puts_the_version_before_back(stage: Stage, first: str, calls: Calls) -> None:
    # Given a second version in service
    second = stage.nights.released()
    stage.replicas.until_agreed(second)
    # When a person rolls back
    began = time.time()
    stage.nights.rollback().ends_well()
    stage.replicas.until_agreed(first)
    took = time.time() - began
    # Then it takes seconds, and replicas agree in time
    back = stage.replicas.happened(ReleaseEvent.ROLLED_BACK)
    assert back is not None
    calls.until_all_answer(first, stage.size, since=back.at.timestamp())
    calls.stop()
    late = calls.last_by(second) - back.at.timestamp()
    print(f"rolled back in {took:.2f} s, {stage.size} replicas agreed {late:.2f} s after the entry")
    assert took <= ROLLBACK_SECONDS
    assert late <= AGREE_SECONDS
    # And no request failed, and no night deploys that version again
    assert calls.failed() == []
    stage.nights.deploy().ends_well()
    assert stage.replicas.agreed(first)
