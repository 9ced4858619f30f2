"""The state folder: what all workers of a server agree on, in files that are replaced whole."""

from __future__ import annotations

import fcntl
import math
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import msgspec
from pydantic import BaseModel, ConfigDict, ValidationError

from serving.errors import StateError, UnacknowledgedError
from serving.processes import roster
from serving.rollout.comparison import PhaseTally
from serving.rollout.rollout import InService, Rollout
from stores.file import write_whole

CURRENT = "current.json"
ROLLOUT = "rollout.json"
PAUSE_SECONDS = 0.02


class StateChange(BaseModel):
    """The last rollout, and the number of the last change of anything here: workers acknowledge that."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    serial: int = 0
    rollout: Rollout | None = None


class WorkerReport(msgspec.Struct):
    """What one worker says: the last change it took over, what went wrong with it, what it saw of a phase."""

    worker: str
    serial: int
    error: str = ""
    phase: str = ""
    tally: PhaseTally = msgspec.field(default_factory=PhaseTally)


class StateFolder:
    """The files of one server. A process that changes one holds `locked`; reading needs no lock.

    `acknowledge_seconds`: how long each worker may take to take a change over.
    """

    def __init__(self, path: Path, acknowledge_seconds: float = 30.0) -> None:
        self.path = path
        self._acknowledge_seconds = acknowledge_seconds
        self._decode = msgspec.json.Decoder(WorkerReport).decode

    # What is served, and the rollout under way

    def current(self) -> InService | None:
        """What is served, None if nothing; `OSError` or `ValidationError` when the file is damaged."""
        try:
            return InService.model_validate_json((self.path / CURRENT).read_bytes())
        except FileNotFoundError:
            return None

    def change(self) -> StateChange:
        """The last change; none when there was none, or when its file is damaged."""
        try:
            return StateChange.model_validate_json((self.path / ROLLOUT).read_bytes())
        except (OSError, ValidationError):
            return StateChange()

    def stamp(self) -> tuple[int, ...]:
        """Another one after each change."""
        return tuple(part for name in (CURRENT, ROLLOUT) for part in _stamp(self.path / name))

    def write(self, rollout: Rollout | None) -> int:
        """Replace the record of the last rollout, and return the new serial number."""
        # Of the clock, so that a lost file does not begin again with numbers that were acknowledged before.
        serial = max(self.change().serial + 1, time.time_ns())
        self.replace(ROLLOUT, StateChange(serial=serial, rollout=rollout).model_dump_json(indent=1).encode())
        return serial

    def serve(self, entry: InService | None) -> None:
        """Replace what is served from now on, restarts included; `write` tells the workers."""
        if entry is None:
            (self.path / CURRENT).unlink(missing_ok=True)
        else:
            self.replace(CURRENT, entry.model_dump_json(indent=1).encode())

    @contextmanager
    def locked(self, name: str = "state") -> Iterator[None]:
        """One process and thread at a time; `StateError` if a file cannot be written meanwhile."""
        try:
            self.path.mkdir(parents=True, exist_ok=True)
            with (self.path / f"{name}.lock").open("a", encoding="utf-8") as lock:
                fcntl.flock(lock, fcntl.LOCK_EX)
                yield
        except OSError as error:
            raise StateError(
                f"{self.path} cannot be written ({error.strerror}); make room there, or see SERVING_STATE"
            ) from None

    def replace(self, name: str, content: bytes, *, durable: bool = True) -> None:
        """Replace a file as a whole, or create it."""
        write_whole(self.path / name, content, durable=durable)

    # The workers

    def report(self, report: WorkerReport) -> None:
        """Publish what this process has applied, and its figures."""
        self.replace(f"{roster.FOLDER}/{os.getpid()}.json", msgspec.json.encode(report), durable=False)

    def reports(self) -> dict[int, WorkerReport | None]:
        """Each live worker's report; None for one without a report yet."""
        return {pid: self._report(pid) for pid in roster.live(self.path)}

    def forget(self) -> None:
        """Remove this process's report, and those of dead ones."""
        live = roster.live(self.path) - {os.getpid()}
        for path in (self.path / roster.FOLDER).glob("[0-9]*.json"):
            if int(path.stem) not in live:
                path.unlink(missing_ok=True)

    def alive(self, worker: str) -> bool:
        """Whether the worker of that name lives; its process id alone could be another one's by now."""
        return any(report is not None and report.worker == worker for report in self.reports().values())

    def others_serve(self) -> bool:
        """Whether another live worker serves what this folder says, or may do so: one that has said nothing yet."""
        reports = self.reports().items()
        return any(pid != os.getpid() and (report is None or not report.error) for pid, report in reports)

    def wait(self, serial: int, at_most: float = math.inf) -> list[WorkerReport]:
        """The live workers' reports once each has applied a change; `UnacknowledgedError` if one has not in time."""
        seconds = min(self._acknowledge_seconds, at_most)
        deadline = time.monotonic() + seconds
        while True:
            reports = self.reports()
            late = [pid for pid, report in reports.items() if report is None or report.serial < serial]
            if not late:
                return [report for report in reports.values() if report is not None]
            if time.monotonic() > deadline:
                raise UnacknowledgedError(
                    f"worker process {late[0]} did not take over the change within {seconds:g} s; "
                    "look at its log (SERVING_ACKNOWLEDGE_SECONDS)"
                )
            time.sleep(PAUSE_SECONDS)

    def _report(self, pid: int) -> WorkerReport | None:
        try:
            return self._decode((self.path / roster.FOLDER / f"{pid}.json").read_bytes())
        except (OSError, msgspec.DecodeError):
            return None


def _stamp(path: Path) -> tuple[int, ...]:
    try:
        found = path.stat()
    except OSError:
        return (0, 0, 0)
    return (found.st_mtime_ns, found.st_ino, found.st_size)
