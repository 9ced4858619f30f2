"""A state disk that is full: what is in service is served still, and whoever dies is replaced."""

from __future__ import annotations

import os
import resource
import signal
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.portable_files import portable_bytes, write
from tests.serving_process import ServingProcess
from tests.waiting import until

ROW = [{"distance": 1, "hour": 2, "carrier": "B6"}]

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="limits of another process are set on Linux only")


class Disk:
    """Lets a server's processes, and those that they start, write no file: no byte of any, or as before."""

    def __init__(self, server: ServingProcess) -> None:
        self._server = server

    def fill(self) -> None:
        self._limit(0)

    def empty(self) -> None:
        self._limit(resource.RLIM_INFINITY)

    def _limit(self, size: int) -> None:
        assert self._server.process is not None
        for pid in (self._server.process.pid, *self._server.workers()):
            resource.prlimit(pid, resource.RLIMIT_FSIZE, (size, resource.RLIM_INFINITY))


class Said:
    """What a server says, read from a pipe: its log is on no disk."""

    def __init__(self, path: Path) -> None:
        os.mkfifo(path)
        self.text = ""
        self._thread = threading.Thread(target=self._read, args=(path,), daemon=True)
        self._thread.start()

    def _read(self, path: Path) -> None:
        with path.open("rb", buffering=0) as pipe:
            while more := pipe.read(65_536):
                self.text += more.decode()


@pytest.fixture
def server(tmp_path: Path) -> Iterator[ServingProcess]:
    """A server of two workers that serves version 7."""
    found = ServingProcess(tmp_path / "state", SERVING_WORKERS="2")
    found.said = Said(found.log)  # type: ignore[attr-defined]
    found.start()
    until(lambda: len(found.workers()) == 2)
    found.deploy(*write(tmp_path, portable_bytes()), "7")
    # Each has left its counts, so that there is something to write about it when it dies.
    until(lambda: {path.stem for path in (found.state / "metrics").glob("*.counts")} >= set(map(str, found.workers())))
    yield found
    found.stop(signal.SIGKILL)


def test_a_worker_that_dies_while_the_disk_is_full_is_replaced_and_the_next_one_serves(server: ServingProcess) -> None:
    # Given a full disk, and workers that all die
    disk, before = Disk(server), server.workers()
    disk.fill()
    for victim in before:
        os.kill(victim, signal.SIGKILL)

    # Then the server lives, says what is wrong, and its new workers serve what was served
    until(lambda: len(server.workers() - before) == 2)
    until(lambda: server.predict(ROW).status_code == 200)
    assert {server.predict(ROW).json()["model_version"] for _ in range(30)} == {"7"}
    assert server.process is not None
    assert server.process.poll() is None
    said = server.said  # type: ignore[attr-defined]
    until(lambda: "cannot be written (File too large); make room there" in said.text)
    until(lambda: all(f"worker {victim} ended (SIGKILL); another one is started" in said.text for victim in before))


def test_a_release_reaches_a_server_whose_disk_is_full(server: ServingProcess, tmp_path: Path) -> None:
    # Given a full disk
    Disk(server).fill()

    # When a version is released, Then it serves in all workers, and the log says what could not be kept
    server.releases.deploy(*write(tmp_path, portable_bytes(bias=0.2)), "8")
    until(lambda: {server.predict(ROW).json()["model_version"] for _ in range(20)} == {"8"})
    assert not [path for path in server.state.rglob(".part-*") if path.stat().st_size]
    until(lambda: "cannot be written (File too large); see SERVING_STATE" in server.said.text)  # type: ignore[attr-defined]


def test_workers_that_can_keep_nothing_serve_all_the_same(server: ServingProcess, tmp_path: Path) -> None:
    # Given a folder in which no file can be made, and workers that all die
    folder, before = server.state / "models", server.workers()
    folder.rename(tmp_path / "away")
    folder.touch()
    for victim in before:
        os.kill(victim, signal.SIGKILL)

    # Then the next ones serve what was served, and take part in the next release
    until(lambda: len(server.workers() - before) == 2)
    until(lambda: server.predict(ROW).status_code == 200)
    server.releases.deploy(*write(tmp_path, portable_bytes(bias=0.2)), "8")
    until(lambda: {server.predict(ROW).json()["model_version"] for _ in range(20)} == {"8"})
