"""A replica that no longer reaches the releases: it leaves a trial, serves on, and follows again when it can."""

from __future__ import annotations

import time

from formats.release import ReleaseEvent
from tests.replicas.calls import Calls
from tests.replicas.stage import Stage

LEASE_SECONDS = 15.0


def test_a_replica_that_is_cut_off_leaves_a_trial_and_serves_on(stage: Stage, first: str, calls: Calls) -> None:
    # Given a canary in which every replica takes part
    second, known = stage.nights.champion(), stage.replicas.log.last()
    step = stage.nights.deploy(watch=LEASE_SECONDS + 12)
    calls.until_all_answer(second, stage.size)
    # When one of them no longer reaches the releases
    cut = time.time()
    stage.place.cut(1)
    # Then it leaves the trial when the lease is over, while the others go on
    stage.replicas.until_event(ReleaseEvent.PROMOTED, known)
    on_trial = [call for call in calls.seen(cut) if call.version == second]
    left = max((call.sent for call in on_trial if call.replica == "r1"), default=cut) - cut
    print(f"it left the trial {left:.1f} s after it was cut off")
    assert left <= LEASE_SECONDS
    assert any(call.replica == "r0" and call.sent > cut + LEASE_SECONDS + 2 for call in on_trial)
    # And the release ends without it: it serves the version that it knows
    step.ends_well()
    promoted = time.time()
    calls.until_all_answer(second, stage.size - 1, since=promoted)
    assert {call.version for call in calls.seen(promoted) if call.replica == "r1"} == {first}
    # And it follows when it reaches them again; no request failed
    stage.place.mend()
    stage.replicas.until_agreed(second)
    calls.stop()
    assert calls.failed() == []
