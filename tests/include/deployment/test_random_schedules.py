"""Random schedules of releases, rollbacks and faults, on a simulated store and clocks; `make test-replicas`: 1,000."""

from __future__ import annotations

import os
from collections.abc import Mapping
from contextlib import suppress
from datetime import UTC, datetime
from typing import Any, cast

import numpy as np
import pytest

from formats.answers.binary import BinaryKind
from formats.portable_model import Found
from formats.release import InService, Release, ReleaseEvent
from formats.release_log import ReleaseLog
from formats.request_rows import RequestModel
from formats.rollout_plan import Plan
from include.deployment.conductor import Candidate, Conductor, Outcome
from include.deployment.fleet import Fleet
from include.deployment.pulse import Pulse
from include.deployment.writer import ReleaseWriter
from include.errors import FaultError, StepError
from serving.release.answering import Answering
from serving.release.follower import Follower
from tests.include.deployment.world import Actor, AwayError, StoreView, World

SCHEDULES = int(os.environ.get("SCHEDULES", "100"))
AT_ONCE = 25
USE_CASE = "ice_cream"
LEASE_SECONDS = 10.0
PLAN = Plan(shadow_rows=10, shadow_seconds=5, share=0.3, watch_seconds=8, idle_seconds=1, min_requests=5)
ROWS = [{"stock": 1.0}] * 40
REFUSED = "9"
"""A version whose file no replica can load."""


class TinyModel:
    """A model whose answers tell its version: even ones are like version 2's, odd ones fail every request."""

    inputs = ()

    def __init__(self, version: str) -> None:
        self.version = int(version)
        self.kind = BinaryKind()

    def answer(self, body: bytes) -> Found:
        if self.version % 2:
            raise RuntimeError("this version answers nothing")
        return np.array([0.3 + self.version / 1000, 0.6])

    def rows(self, rows: Any) -> Found:
        return self.answer(b"")[: len(rows)]


class SlowLoader:
    """Loads in simulated time."""

    def __init__(self, actor: Actor) -> None:
        self._actor = actor
        self._ready_at: dict[str, float] = {}
        self._entries: Mapping[str, InService] = {}

    def want(self, entries: Mapping[str, InService]) -> None:
        self._entries = entries
        for sha256 in entries:
            at = self._actor.clock() + self._actor.world.random.uniform(0, 1.5)
            self._ready_at.setdefault(sha256, at)

    def model(self, sha256: str) -> RequestModel | None:
        entry = self._entries.get(sha256)
        if entry is None or entry.version == REFUSED or self._actor.clock() < self._ready_at[sha256]:
            return None
        return cast(RequestModel, TinyModel(entry.version))

    def error(self, sha256: str) -> str:
        entry = self._entries.get(sha256)
        return "it is no model file" if entry is not None and entry.version == REFUSED else ""

    def refused(self, sha256: str) -> bool:
        return bool(self.error(sha256))


class Replica:
    """A follower, and what it answered."""

    def __init__(self, world: World, name: str) -> None:
        self.answering = Answering(USE_CASE)
        self.follower: Follower
        self.actor = Actor(world, name, self._act)

    def _act(self, actor: Actor) -> None:
        self.follower = Follower(
            ReleaseLog(StoreView(actor), USE_CASE),
            self.answering,
            SlowLoader(actor),
            None,
            replica=actor.name,
            poll=2.0,
            clock=actor.clock,
            now=actor.now,
        )
        while True:
            actor.sleep(self.follower.step())

    def ask(self, key: str) -> str | None:
        """The version that answers a request; None before this replica is ready."""
        if self.answering.in_service is None:
            return None
        trial = self.answering.trial
        served, _ = self.answering.answer(key, lambda model: model.answer(b""), b"{}")
        if trial is not None and served is trial.served:
            # Then a replica that is cut off is out of the trial within the lease's time.
            quiet = self.actor.world.time - self.actor.reached_at
            assert quiet <= LEASE_SECONDS + 1, f"{self.actor.name} answers by a trial it heard of {quiet:.1f} s ago"
        return served.entry.version


def _entry(version: str) -> InService:
    sha256 = f"{int(version):064x}"
    return InService(version=version, sha256=sha256, uri=f"m/{version}", use_case=USE_CASE, since=datetime.now(UTC))


def _conductor(actor: Actor, by: str) -> Conductor:
    log = ReleaseLog(StoreView(actor), USE_CASE)
    writer = ReleaseWriter(log, by)
    pulse = Pulse(log, seconds=LEASE_SECONDS, clock=actor.clock, sleep=actor.sleep)
    fleet = Fleet(log, seconds=20, quorum=0.5, pause=pulse.pause, clock=actor.clock, now=actor.now)
    return Conductor(writer, fleet, pulse, actor.clock)


def _deploy(actor: Actor, version: str) -> None:
    """What `deploy` does of a night whose champion is that version."""
    conductor = _conductor(actor, f"deploy of {version}")
    tail = conductor.writer.tail()
    entry = _entry(version)
    if tail.release.left(version) or entry.same_file(tail.release.serving):
        return
    conductor.require_quiet(tail, entry)
    if tail.release.serving is None:
        _require_written(actor, conductor.serve(tail, entry, ReleaseEvent.DEPLOYED))
        return
    model, proven = (cast(RequestModel, TinyModel(one)) for one in (version, tail.release.serving.version))
    _require_written(actor, conductor.try_out(tail, entry, Candidate(model, proven, PLAN, ROWS)))


def _roll_back(actor: Actor) -> None:
    conductor = _conductor(actor, "a person")
    tail = conductor.writer.tail()
    if tail.release.before:
        event = ReleaseEvent.ROLLED_BACK
        back = tail.release.before[-1]
        _require_written(actor, conductor.serve(tail, back, event, ended=event, why="a person wants it"))


def _require_written(actor: Actor, outcome: Outcome) -> None:
    """What a step says that it did is what the log says."""
    written = Release.model_validate_json(actor.world.blobs[f"{USE_CASE}/log/{outcome.tail.number:010d}.json"])
    assert written.id == outcome.tail.release.id, f"{actor.name} did not write entry {outcome.tail.number}"


class Schedule:
    """One random course of events: nights, rollbacks, kills, cuts and joins; `check` holds it to the invariants."""

    def __init__(self, seed: int) -> None:
        self.world = World(seed)
        self.random = self.world.random
        self.replicas = [Replica(self.world, f"replica-{number}") for number in range(self.random.choice([0, 1, 3, 5]))]
        self.tasks: list[Actor] = []
        self.started = len(self.replicas)

    def run(self) -> None:
        Actor(self.world, "callers", self._call)
        Actor(self.world, "fate", self._disturb)
        self.tasks.append(Actor(self.world, "nights", self._nights))
        self.world.run(160)
        # When all faults are over, and nobody acts any more
        for actor in self.tasks:
            actor.kill()
        self.world.store_is_away, self.world.faults = False, 0.0
        for replica in self.replicas:
            replica.actor.cut_off = False
        self.world.run(230)

    def _call(self, actor: Actor) -> None:
        while True:
            actor.sleep(0.7)
            for replica in self.replicas:
                if not replica.actor.dead:
                    version = replica.ask(str(self.random.random()))
                    assert version is None or version in self._released(), version

    def _released(self) -> set[str]:
        return {release.under_way.version for release in self.log() if release.under_way}

    def _nights(self, actor: Actor) -> None:
        for version in ("2", self.random.choice(["3", "4", REFUSED]), "6", "8"):
            for _ in range(100 if version == "2" else 4):  # tries of the task; the first version serves in any case
                ended: list[bool] = []
                self._start(f"deploy {version}", lambda task, v=version, e=ended: e.append(_attempt(_deploy, task, v)))
                task = self.tasks[-1]
                while not task.dead:
                    actor.sleep(0.5)
                if ended == [True]:
                    break
                actor.sleep(self.random.uniform(0, 6))

    def _start(self, name: str, act: Any) -> None:
        self.tasks.append(Actor(self.world, name, act))

    def _disturb(self, actor: Actor) -> None:
        faults = (
            self._kill_task, self._kill_replica, self._join, self._cut, self._away, self._lossy, self._person,
        )  # fmt: skip
        while True:
            actor.sleep(self.random.expovariate(1 / 8))
            if self.world.time > 150:
                return
            self.random.choice(faults)()

    def _kill_task(self) -> None:
        if alive := [task for task in self.tasks if not task.dead and task.name != "nights"]:
            self.random.choice(alive).kill()

    def _kill_replica(self) -> None:
        if alive := [one for one in self.replicas if not one.actor.dead]:
            self.random.choice(alive).actor.kill()

    def _join(self) -> None:
        if self.started:
            self.started += 1
            self.replicas.append(Replica(self.world, f"replica-{self.started}"))

    def _cut(self) -> None:
        if self.replicas:
            replica = self.random.choice(self.replicas)
            replica.actor.cut_off = not replica.actor.cut_off

    def _away(self) -> None:
        self.world.store_is_away = not self.world.store_is_away

    def _lossy(self) -> None:
        self.world.faults = self.random.choice([0.0, 0.0, 0.05, 0.3])

    def _person(self) -> None:
        self._start("a person", lambda task: _attempt(_roll_back, task))

    # What must hold

    def log(self) -> list[Release]:
        return [
            Release.model_validate_json(content)
            for name, content in sorted(self.world.blobs.items())
            if name.startswith(f"{USE_CASE}/log/")
        ]

    def check(self) -> None:
        log = self.log()
        self._check_entries(log)
        if not log:
            return
        wanted = log[-1].serving
        for replica in self.replicas:
            if replica.actor.dead:
                continue
            # Then every replica that reaches the record agrees, and none is left in a trial without a conductor
            served = replica.answering.in_service
            assert (served and served.entry.version) == (wanted and wanted.version), replica.actor.name
            assert replica.answering.trial is None, replica.actor.name

    def _check_entries(self, log: list[Release]) -> None:
        taken_out: set[str] = set()
        for before, after in zip([None, *log], log, strict=False):
            served = before.serving if before else None
            changed = after.serving is not None and (served is None or served.version != after.serving.version)
            if changed and after.serving is not None:
                # Then only a person brings back what was taken out
                version = after.serving.version
                assert version not in taken_out or after.event is ReleaseEvent.ROLLED_BACK, (after.event, version)
                # Then what serves was prepared, or on trial, in the entry before
                assert before is not None and before.under_way is not None
                assert before.under_way.version == version
                # Then a version that answers nothing serves only where there was nothing to compare it with
                assert version != "3" or served is None, "a version that answers nothing was promoted"
            taken_out = {one.entry.version for one in after.taken_out}


def _attempt(act: Any, *given: Any) -> bool:
    try:
        act(*given)
    except (AwayError, FaultError):
        return False
    except StepError:
        return True  # rejected or refused: no further try
    return True


@pytest.mark.parametrize("first", range(0, SCHEDULES, AT_ONCE))
def test_every_schedule_keeps_the_invariants(first: int) -> None:
    for seed in range(first, first + AT_ONCE):
        schedule = Schedule(seed)
        try:
            schedule.run()
            schedule.check()
        except Exception as error:
            with suppress(Exception):
                error.add_note(f"seed {seed}")
            raise


def test_the_schedules_reach_every_kind_of_entry() -> None:
    seen: set[ReleaseEvent] = set()
    for seed in range(30):
        schedule = Schedule(seed)
        schedule.run()
        seen |= {release.event for release in schedule.log()}

    made_by_hand = {ReleaseEvent.RESTORED, ReleaseEvent.CHECKED, ReleaseEvent.WITHDRAWN}
    assert seen == set(ReleaseEvent) - made_by_hand
