"""Long-lived processes that outlive the command that started them, and how that command finds them again."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path

from include.errors import FaultError
from stores.file import write_whole

GRACE_SECONDS = 20.0
# A process starts work only after it is noted: if its starter is killed in between, it reads the end of its input.
_ONCE_RECORDED = ("sh", "-c", 'read -r _ && exec "$@" </dev/null', "sh")


@dataclass(frozen=True)
class Process:
    """A process of ours. `ticks` is its start on the kernel's clock: a later process with the same id has another.

    `boot` names the machine's start that the clock counts from, `settings` the `NIGHTSHIFT_*` variables it was given
    (None: an older version of this program started it, and did not note them).
    """

    name: str
    pid: int
    ticks: int
    started: str
    log: str
    stop_signal: int = signal.SIGTERM
    boot: str = ""
    folder: str = ""
    settings: Mapping[str, str] | None = None

    @property
    def alive(self) -> bool:
        """Whether exactly this process, and not one that inherited its id, is running."""
        return start_ticks(self.pid) == self.ticks

    @property
    def since(self) -> datetime:
        """When it was started, UTC."""
        return datetime.fromisoformat(self.started)


class Processes:
    """The processes that were started and not yet stopped: one small file each in a folder.

    `settings` is noted for the processes that are started now.
    """

    def __init__(self, folder: Path, settings: Mapping[str, str] | None = None) -> None:
        self.folder = folder
        self.settings = settings or {}

    def running(self, name: str) -> Process | None:
        """The process of that name if it is alive."""
        process = self._recorded(name)
        return process if process and process.alive else None

    def all(self) -> list[Process]:
        """Every process that is alive, oldest first."""
        names = [path.stem for path in self.folder.glob("*.json")]
        return sorted((p for name in names if (p := self.running(name))), key=lambda p: p.started)

    def left_behind(self) -> dict[str, list[int]]:
        """The processes left behind by one that was killed, by its name: they hold its port, or do half of its work."""
        names = [path.stem for path in self.folder.glob("*.json")]
        dead = [process for name in names if (process := self._recorded(name)) and not process.alive]
        return {process.name: pids for process in dead if (pids := _session(process))}

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
        self.stop(name)
        log.parent.mkdir(parents=True, exist_ok=True)
        self.folder.mkdir(parents=True, exist_ok=True)
        with log.open("ab") as out:
            child = subprocess.Popen(
                [*_ONCE_RECORDED, *argv],
                env=dict(environment),
                cwd=folder,
                stdin=subprocess.PIPE,
                stdout=out,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        _children[child.pid] = child
        ticks = start_ticks(child.pid)
        started = datetime.now(UTC).isoformat(timespec="seconds")
        process = Process(
            name,
            child.pid,
            ticks or 0,
            started,
            str(log),
            stop_signal,
            _boot(),
            str(folder.resolve()),
            dict(self.settings),
        )
        self._record(process)
        assert child.stdin is not None
        with suppress(BrokenPipeError), child.stdin:
            child.stdin.write(b"\n")
        return process

    def stop(self, name: str, grace: float = GRACE_SECONDS) -> Process | None:
        """Stop the process of that name and all that it started, or what is left of it when it was killed.

        One that ignores its signal is killed after `grace` seconds. None when there is none.
        """
        process = self._recorded(name)
        left = _session(process) if process is not None else []
        if process is not None:
            _signal(process, left)
            if not _wait_gone(process, grace):
                for pid in _session(process):
                    _kill(pid, signal.SIGKILL)
                _wait_gone(process, grace)
        self._path(name).unlink(missing_ok=True)
        return process if left else None

    def wait_until(self, process: Process, ready: Callable[[], bool], *, seconds: float) -> None:
        """Wait until a process answers; `FaultError` with its last log line when it ends, or does not in time."""
        deadline = time.monotonic() + seconds
        while not ready():
            if not process.alive:
                self.stop(process.name)
                raise FaultError(f"{process.name} ended while starting: {last_line(process.log)} (log: {process.log})")
            if time.monotonic() > deadline:
                raise FaultError(f"{process.name} is not ready after {seconds:.0f} s; see {process.log}")
            time.sleep(0.1)

    def _record(self, process: Process) -> None:
        write_whole(self._path(process.name), json.dumps(asdict(process)).encode(), mode=0o600)

    def _recorded(self, name: str) -> Process | None:
        try:
            return Process(**json.loads(self._path(name).read_text(encoding="utf-8")))
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
        stat = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
    except (FileNotFoundError, ProcessLookupError):
        return None
    fields = stat.rpartition(")")[2].split()  # the program's name before it may contain spaces and brackets
    if fields[0] not in "ZX":
        return int(fields[19])
    if child:  # it died after it was asked: unless it is waited for, PostgreSQL takes its dead server for a running one
        child.wait()
    return None


def last_line(log: str | Path) -> str:
    """The last line of a log that is not empty."""
    try:
        lines = Path(log).read_text(encoding="utf-8", errors="replace").splitlines()
    except FileNotFoundError:
        return "it wrote no log"
    return next((line.strip() for line in reversed(lines) if line.strip()), "it wrote nothing")


def _boot() -> str:
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text(encoding="utf-8").strip()
    except OSError:
        return ""


def _session(process: Process) -> list[int]:
    """What runs in the session that a process of ours began; it may be dead itself.

    The kernel reuses its id only when the session has no member left: if a stranger has it, none is ours.
    """
    ticks = start_ticks(process.pid)
    if ticks != process.ticks and (ticks is not None or process.boot != _boot()):
        return []
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            fields = (folder / "stat").read_text(encoding="utf-8", errors="replace").rpartition(")")[2].split()
            ours = int(fields[3]) == process.pid and int(fields[19]) >= process.ticks and fields[0] not in "ZX"
            if ours and (ticks is not None or (folder / "cwd").readlink() == Path(process.folder)):
                found.append(int(folder.name))
        except OSError:
            continue
    return found


def _signal(process: Process, members: Iterable[int]) -> None:
    if process.alive and process.stop_signal == signal.SIGINT:
        _kill(process.pid, process.stop_signal)  # PostgreSQL recognises its own children
    elif process.alive:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, process.stop_signal)
    else:
        for pid in members:
            _kill(pid, signal.SIGTERM)


def _kill(pid: int, signum: int) -> None:
    with suppress(ProcessLookupError):
        os.kill(pid, signum)


def _wait_gone(process: Process, seconds: float) -> bool:
    deadline = time.monotonic() + seconds
    while process.alive or _session(process):
        if time.monotonic() > deadline:
            return False
        time.sleep(0.05)
    return True
