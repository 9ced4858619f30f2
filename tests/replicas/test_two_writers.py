"""A person rolls back while a night promotes: one of them wins, and what was said last is not undone."""

from __future__ import annotations

import random
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from formats.release import ReleaseEvent
from include.deployment.writer import OvertakenError
from tests.portable_files import portable_bytes, write
from tests.releases import ReleasesFolder
from tests.replicas.calls import Calls
from tests.replicas.places import RELEASES
from tests.replicas.stage import Stage
from tests.waiting import until

ROUNDS = 8


def test_a_rollback_ends_a_canary_and_no_retry_undoes_it(stage: Stage, first: str, calls: Calls) -> None:
    # Given a second version in service, and the canary of a third
    second = stage.nights.released()
    third = stage.nights.champion()
    step = stage.nights.deploy(watch=60)
    calls.until_version(third)
    # When a person rolls back
    stage.nights.rollback().ends_well()
    # Then the first version serves, the canary has ended, and its step says why
    stage.replicas.until_agreed(first)
    assert step.ended() != 0
    assert "was ended by another release" in step.said()
    # And its retry changes nothing
    stage.nights.deploy().ends_well()
    assert stage.replicas.agreed(first)
    assert stage.replicas.tail().left(second) is not None
    calls.stop()
    assert calls.failed() == []


def test_of_a_rollback_and_a_promotion_at_once_each_is_judged_on_what_the_other_did(
    stage: Stage, first: str, calls: Calls, tmp_path: Path
) -> None:
    # Given versions that served, and a lot when a person's word comes
    lot = random.Random(13)
    releases = ReleasesFolder(f"{stage.place.lake}/{RELEASES}", endpoint=stage.place.endpoint, seconds=30)
    ways = set()
    for turn in range(ROUNDS):
        files = [write(tmp_path, portable_bytes(bias=(3 * turn + each) / 1000)) for each in range(3)]
        names = [f"{turn}{each}" for each in range(3)]
        for file, name in zip(files[:2], names[:2], strict=True):
            releases.deploy(*file, name)
        # When a night promotes the third while a person rolls back
        with ThreadPoolExecutor(2) as threads:
            plan = {"shadow_rows": 0, "share": 0.5, "watch_seconds": 0.5, "idle_seconds": 0.5}
            night = threads.submit(releases.roll_out, *files[2], names[2], plan)
            known = releases.log().last()
            _until_after(releases, known)
            pause = lot.uniform(0, 5)
            person = threads.submit(_roll_back, releases, pause)
        # Then the person's word stands: the last one in the log, or the promotion that came after a judgement on it
        person.result()
        tail = releases.tail()
        happened = [event for event, _ in stage.replicas.events(known)]
        assert tail.event is ReleaseEvent.ROLLED_BACK, happened
        assert tail.serving is not None
        if ReleaseEvent.PROMOTED in happened:
            # it was the promoted version that the person took out
            ways.add("promoted first")
            assert night.exception() is None
            assert tail.left(names[2]) is not None
            assert tail.serving.version == names[1]
        else:
            ways.add("rolled back first")
            assert isinstance(night.exception(), OvertakenError)
            assert tail.left(names[1]) is not None
            assert tail.serving.version == names[0]
        stage.replicas.until_agreed(tail.serving.version)
    print(f"seen: {sorted(ways)}")
    calls.stop()
    assert calls.failed() == []


def _until_after(releases: ReleasesFolder, known: int) -> None:
    until(lambda: releases.log().last() > known)


def _roll_back(releases: ReleasesFolder, pause: float) -> None:
    """As the step does: judged again when something came in between."""
    time.sleep(pause)
    for _ in range(5):
        try:
            releases.roll_back()
        except OvertakenError:
            continue
        return
    pytest.fail("a rollback was overtaken five times")
