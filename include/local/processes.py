"""Long-lived processes that outlive the command that started them, and how that command finds them again."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path

from include.errors import FaultError

GRACE_SECONDS = 20.0


@dataclass(frozen=True)
class Process:
    """A process of ours. `ticks` is its start on the kernel's clock: a later process with the same id has another."""

    name: str
    pid: int
    ticks: int
    started: str
    log: str
    stop_signal: int = signal.SIGTERM

    @property
    def alive(self) -> bool:
        """Whether exactly this process, and not one that inherited its id, is running."""
        return start_ticks(self.pid) == self.ticks

    @property
    def since(self) -> datetime:
        """When it was started, UTC."""
        return datetime.fromisoformat(self.started)


class Processes:
    """The processes that were started and not yet stopped: one small file each in a folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def running(self, name: str) -> Process | None:
        """The process of that name if it is alive."""
        process = self._recorded(name)
        return process if process and process.alive else None

    def all(self) -> list[Process]:
        """Every process that is alive, oldest first."""
        names = [path.stem for path in self.folder.glob("*.json")]
        return sorted((p for name in names if (p := self.running(name))), key=lambda p: p.started)

    def start(
        self,
        name: str,
        argv: Sequence[str],
        *,
        environment: Mapping[str, str],
        folder: Path,
        log: Path,
        stop_signal: int = signal.SIGTERM,
    ) -> Process:
        """Start a process in a session of its own, or return the one of that name that is running."""
        if running := self.running(name):
            return running
        log.parent.mkdir(parents=True, exist_ok=True)
        self.folder.mkdir(parents=True, exist_ok=True)
        with log.open("ab") as out:
            child = subprocess.Popen(
                list(argv),
                env=dict(environment),
                cwd=folder,
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        _children[child.pid] = child
        ticks = start_ticks(child.pid)
        started = datetime.now(UTC).isoformat(timespec="seconds")
        process = Process(name, child.pid, ticks or 0, started, str(log), stop_signal)
        part = self.folder / f".{name}.part"
        part.write_text(json.dumps(asdict(process)))
        part.replace(self._path(name))
        return process

    def stop(self, name: str, grace: float = GRACE_SECONDS) -> Process | None:
        """Stop the process of that name and its group; one that ignores its signal is killed after `grace` seconds."""
        process = self.running(name)
        if process is not None:
            _signal_group(process, process.stop_signal)
            if not _wait_gone(process, grace):
                _signal_group(process, signal.SIGKILL)
                _wait_gone(process, grace)
        self._path(name).unlink(missing_ok=True)
        return process

    def wait_until(self, process: Process, ready: Callable[[], bool], *, seconds: float) -> None:
        """Wait until a process answers; `FaultError` with its last log line when it ends, or does not in time."""
        deadline = time.monotonic() + seconds
        while not ready():
            if not process.alive:
                self._path(process.name).unlink(missing_ok=True)
                raise FaultError(f"{process.name} ended while starting: {last_line(process.log)} (log: {process.log})")
            if time.monotonic() > deadline:
                raise FaultError(f"{process.name} is not ready after {seconds:.0f} s; see {process.log}")
            time.sleep(0.1)

    def _recorded(self, name: str) -> Process | None:
        try:
            return Process(**json.loads(self._path(name).read_text()))
        except FileNotFoundError:
            return None
        except (ValueError, TypeError):
            return None

    def _path(self, name: str) -> Path:
        return self.folder / f"{name}.json"


# Children of this very command: unless they are waited for, a dead one still looks alive.
_children: dict[int, subprocess.Popen[bytes]] = {}


def start_ticks(pid: int) -> int | None:
    """When a live process was started, in clock ticks since the machine's boot; None for a dead or unknown one."""
    if child := _children.get(pid):
        child.poll()
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return None
    fields = stat.rpartition(")")[2].split()  # the program's name before it may contain spaces and brackets
    return None if fields[0] in "ZX" else int(fields[19])


def last_line(log: str | Path) -> str:
    """The last line of a log that says something."""
    try:
        lines = Path(log).read_text(errors="replace").splitlines()
    except FileNotFoundError:
        return "it wrote no log"
    return next((line.strip() for line in reversed(lines) if line.strip()), "it wrote nothing")


def _signal_group(process: Process, signum: int) -> None:
    try:
        if signum == process.stop_signal == signal.SIGINT:
            os.kill(process.pid, signum)  # PostgreSQL tells its own children
        else:
            os.killpg(process.pid, signum)
    except ProcessLookupError:
        return


def _wait_gone(process: Process, seconds: float) -> bool:
    deadline = time.monotonic() + seconds
    while process.alive or _group_lives(process.pid):
        if time.monotonic() > deadline:
            return False
        time.sleep(0.05)
    return True


def _group_lives(group: int) -> bool:
    """Whether any process of the group is left that is not just waiting to be reaped."""
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = stat.read_text().rpartition(")")[2].split()
        except OSError:
            continue
        if int(fields[2]) == group and fields[0] not in "ZX":
            return True
    return False
