"""Several serving processes that follow one releases folder, behind a load balancer."""

from __future__ import annotations

import signal
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx

from formats.release import Release, ReleaseEvent
from formats.release_log import ReleaseLog
from formats.replica_report import ReplicaReport
from include.deployment.writer import ReleaseWriter
from tests.replicas.balancer import Balancer
from tests.replicas.nights import USE_CASE
from tests.replicas.places import Place
from tests.serving_process import ServingProcess
from tests.waiting import until


class Replicas:
    """`python -m serving`, so many times, each with a state folder and a way to the releases of its own."""

    def __init__(self, folder: Path, place: Place, number: int, **settings: str) -> None:
        self.place = place
        self.log = ReleaseLog(place.releases(), USE_CASE)
        self.processes: list[ServingProcess] = []
        for each in range(number):
            releases, more = place.replica(each)
            state = folder / f"r{each}" / "state"
            state.parent.mkdir()
            process = ServingProcess(state, releases, SERVING_ACCESS_LOG="false", **settings, **more)
            self.processes.append(process)
        self.balancer = Balancer(folder, [process.port for process in self.processes])

    def start(self) -> Replicas:
        """Start those that do not run, and the balancer."""
        with ThreadPoolExecutor(4) as threads:
            list(threads.map(ServingProcess.start, [one for one in self.processes if not runs(one)]))
        return self

    def stop(self) -> None:
        """End all at once."""
        self.balancer.stop()
        for process in self.processes:
            if runs(process):
                process.stop(signal.SIGKILL)

    def reset(self) -> None:
        """All alive and in reach of the releases, and serving nothing."""
        self.place.mend()
        self.start()
        writer = ReleaseWriter(self.log)
        tail = writer.tail()
        if tail.number and tail.release.serving:
            empty = {"serving": None, "prepare": None, "trial": None, "before": (), "taken_out": ()}
            writer.append(tail, ReleaseEvent.WITHDRAWN, "", tail.release.model_copy(update=empty))
            self.until_agreed(None)

    # What is so

    def tail(self) -> Release:
        """The newest entry of the log."""
        release = self.log.tail()[1]
        assert release is not None
        return release

    def events(self, after: int = 0) -> list[tuple[ReleaseEvent, str]]:
        """What happened after an entry, oldest first: event and version."""
        found = [self.log.entry(number) for number in range(after + 1, self.log.last() + 1)]
        return [(one.event, one.version) for one in found if one]

    def happened(self, event: ReleaseEvent, after: int = 0) -> Release | None:
        """The newest entry of a kind after another."""
        found = [self.log.entry(number) for number in range(after + 1, self.log.last() + 1)]
        return next((one for one in reversed(found) if one and one.event is event), None)

    def until_event(self, event: ReleaseEvent, after: int = 0) -> Release:
        """Wait for an entry of a kind after another."""
        until(lambda: self.happened(event, after))
        entry = self.happened(event, after)
        assert entry is not None
        return entry

    def reports(self) -> list[ReplicaReport]:
        """What the replicas say that have not left."""
        return [report for report in self.log.reports() if not report.left]

    def followed(self, number: int) -> tuple[int, str | None]:
        """The entry that one replica has reached, and the version that it serves; (0, None) if it is not ready."""
        try:
            answer = self.processes[number].get("/readyz")
        except httpx.TransportError:
            return 0, None
        if answer.status_code != 200:
            return 0, None
        model = answer.json()["models"][USE_CASE]
        return model["entry"], model["version"]

    def agreed(self, version: str | None) -> bool:
        """Whether every replica serves what the newest entry says, which is that version, with nothing under way."""
        number, release = self.log.tail()
        serving = release.serving.version if release and release.serving else None
        if serving != version or release is None or release.under_way is not None:
            return False
        wanted = (0, None) if version is None else (number, version)
        return all(self.followed(each) == wanted for each in range(len(self.processes)))

    def until_agreed(self, version: str | None) -> None:
        """Wait until every replica serves a version, as the log says."""
        until(lambda: self.agreed(version))


def runs(process: ServingProcess) -> bool:
    """Whether a serving process is alive."""
    return process.process is not None and process.process.poll() is None
