"""A releases folder in memory, a clock that only pauses move, and replicas that say what a test tells them to."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime

from formats.comparison import PhaseTally
from formats.release import InService, Release
from formats.release_log import ReleaseLog
from formats.replica_report import ReplicaReport
from include.deployment.conductor import Conductor
from include.deployment.fleet import Fleet
from include.deployment.pulse import Pulse
from include.deployment.writer import ReleaseWriter
from tests.memory import Memory

USE_CASE = "ice_cream"
NOW = 1.8e9
Seen = Callable[[Release], PhaseTally]


def version(number: int) -> InService:
    sha256 = f"{number:064x}"
    uri = f"s3://models/{number}.onnx"
    return InService(
        version=str(number), sha256=sha256, uri=uri, use_case=USE_CASE, since=datetime(2026, 11, 26, tzinfo=UTC)
    )


class Player:
    """A replica of a play: it holds all that the newest entry names, unless it is told otherwise."""

    def __init__(self, stage: Stage, name: str) -> None:
        self.stage = stage
        self.name = name
        self.silent = False
        self.left = False
        self.error = ""
        self.refused = False
        self.at = 0.0
        self.sees: Seen = lambda _: PhaseTally()

    def speak(self) -> None:
        number, release = self.stage.log.tail()
        if self.silent or release is None:
            return
        report = ReplicaReport(replica=self.name, at=NOW + self.stage.time + self.at, every=2.0, entry=number)
        report.error, report.refused, report.left = self.error, self.refused, self.left
        report.serving = release.serving.sha256 if release.serving else ""
        if not self.error:
            report.prepared = release.prepare.sha256 if release.prepare else ""
            report.on_trial = release.trial.entry.sha256 if release.trial else ""
        if release.trial:
            report.phase, report.tally = release.trial.name, self.sees(release)
        self.stage.log.report(report)


class Stage:
    """The parts of a play; `conductor` is what is tried."""

    def __init__(self, replicas: int = 1, *, seconds: float = 30.0, quorum: float = 0.5) -> None:
        self.time = 0.0
        self.log = ReleaseLog(Memory(), USE_CASE)
        self.players = [Player(self, f"replica-{number}") for number in range(replicas)]
        self.meanwhile: Callable[[], None] = lambda: None
        self.pulse = Pulse(self.log, clock=self.clock, sleep=self.sleep)
        self.fleet = Fleet(
            self.log,
            seconds=seconds,
            quorum=quorum,
            pause=self.pulse.pause,
            clock=self.clock,
            now=lambda: NOW + self.time,
        )
        self.writer = ReleaseWriter(self.log, "a night")
        self.conductor = Conductor(self.writer, self.fleet, self.pulse, self.clock)
        for player in self.players:
            self.log.report(ReplicaReport(replica=player.name, at=NOW, every=2.0, entry=0))

    def clock(self) -> float:
        return self.time

    def sleep(self, seconds: float) -> None:
        self.time += seconds
        self.meanwhile()
        for player in self.players:
            player.speak()

    def events(self) -> list[str]:
        """What happened, oldest first."""
        found = (self.log.entry(number) for number in range(1, self.log.last() + 1))
        return [f"{one.event} {one.version}" for one in found if one]
