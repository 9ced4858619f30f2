"""N worker processes on one port, and the parent that starts them, replaces dead ones, and ends them together.

The parent listens and the workers inherit its socket (see `listener`). It holds no model and answers nothing. Each
worker is a replica of its own: it follows the releases, and has its own limits. They share the counts for Prometheus.
"""

from __future__ import annotations

import logging
import signal
import socket
import subprocess
import sys
import threading
import time
from types import FrameType

from serving.processes.listener import close_the_door
from serving.settings import ServingSettings
from serving.telemetry import tally

BAD_SETTINGS = 78  # EX_CONFIG of BSD sysexits.h
LOOK_SECONDS = 0.1
PAUSE_SECONDS = 0.5
LONGEST_PAUSE_SECONDS = 30.0
STEADY_SECONDS = 10.0
"""A worker that lived this long is replaced at once when it dies; otherwise after a pause that doubles."""
GRACE_SECONDS = 3.0
"""What a worker has beyond its drain's deadline to leave by itself."""

log = logging.getLogger("serving")


class ServingWorker:
    """A place for one worker process, refilled when it dies."""

    def __init__(self, listener: socket.socket) -> None:
        self._listener = listener
        self._process: subprocess.Popen[bytes] | None = None
        self._began = 0.0
        self._failures = 0
        self._not_before = 0.0

    @property
    def pid(self) -> int:
        """The process id, 0 while there is none."""
        return self._process.pid if self._process else 0

    def tend(self, now: float) -> int | None:
        """Start it if it is not there and it is time to; the exit code if it has just died, negative for a signal."""
        if self._process is None:
            if now >= self._not_before:
                self._start(now)
            return None
        code = self._process.poll()
        if code is not None:
            if now - self._began >= STEADY_SECONDS:
                self._failures = -1
            self._fail(now)
        return code

    def forget(self) -> None:
        """Leave the place empty after its process died."""
        if self._process is not None and self._process.stdin is not None:
            self._process.stdin.close()
        self._process = None

    def signal(self, number: signal.Signals) -> None:
        """Send it a signal."""
        if self._process is not None and self._process.poll() is None:
            self._process.send_signal(number)

    def wait(self, deadline: float) -> bool:
        """Whether it ended by then."""
        if self._process is None:
            return True
        try:
            self._process.wait(max(deadline - time.monotonic(), 0))
        except subprocess.TimeoutExpired:
            return False
        return True

    def _start(self, now: float) -> None:
        # Its standard input ends when this process does, however that happens: then it leaves too.
        descriptor = self._listener.fileno()
        try:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "serving", "--fd", str(descriptor)],
                stdin=subprocess.PIPE,
                pass_fds=[descriptor],
            )
        except OSError as error:  # no memory, no process or no descriptor is free now
            self._fail(now)
            log.error("no worker can be started (%s); tried again", error.strerror)  # noqa: TRY400
        self._began = now

    def _fail(self, now: float) -> None:
        self._failures += 1
        self._not_before = now + _pause(self._failures)


class Parent:
    """Watches over the workers until a stop signal."""

    def __init__(self, settings: ServingSettings, listener: socket.socket) -> None:
        self._settings = settings
        self._listener = listener
        self._workers = [ServingWorker(listener) for _ in range(settings.workers)]
        self._metrics = settings.state / tally.FOLDER
        self._told = threading.Event()

    def run(self) -> int:
        """Run the workers until SIGTERM or SIGINT; the exit code."""
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._tell)
        code = 0
        while not self._told.is_set() and code == 0:
            code = self._look()
            self._told.wait(LOOK_SECONDS)
        self._end()
        return code

    def _tell(self, _: int, __: FrameType | None) -> None:
        self._told.set()

    def _look(self) -> int:
        """Replace dead workers; an exit code if continuing makes no sense."""
        now = time.monotonic()
        for worker in self._workers:
            code = worker.tend(now)
            if code is None:
                continue
            self._retire(worker.pid)
            if code == BAD_SETTINGS:
                return code
            log.error("worker %d ended (%s); another one is started", worker.pid, _told_by(code))
            worker.forget()
        return 0

    def _retire(self, pid: int) -> None:
        try:
            tally.retire(self._metrics, pid)
        except OSError as error:
            log.error("%s cannot be written (%s); make room there", self._metrics, error.strerror)  # noqa: TRY400

    def _end(self) -> None:
        close_the_door(self._listener)
        for worker in self._workers:
            worker.signal(signal.SIGTERM)
        deadline = time.monotonic() + self._settings.drain_seconds + GRACE_SECONDS
        for worker in self._workers:
            if not worker.wait(deadline):
                log.error("worker %d did not end in time and is killed", worker.pid)
                worker.signal(signal.SIGKILL)
        self._listener.close()


def _pause(failures: int) -> float:
    return 0.0 if failures <= 1 else min(PAUSE_SECONDS * 2 ** (failures - 2), LONGEST_PAUSE_SECONDS)


def _told_by(code: int) -> str:
    return signal.Signals(-code).name if code < 0 else f"exit code {code}"
