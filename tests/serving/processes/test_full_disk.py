"""A state disk that is full: what is in service is served still, and whoever dies is replaced."""

from __future__ import annotations

import os
import resource
import signal
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import httpx
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
        for pid in (self._server.process.pid, *roster.live(self._server.state)):
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
    yield found
    found.stop(signal.SIGKILL)
    until(lambda: not found.workers())


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


def test_workers_that_cannot_even_enlist_serve_and_do_so_as_soon_as_they_can(
    server: ServingProcess, tmp_path: Path
) -> None:
    # Given a folder in which no file can be made, and workers that all die
    folder, before = server.state / roster.FOLDER, server.workers()
    folder.rename(tmp_path / "away")
    folder.touch()
    for victim in before:
        os.kill(victim, signal.SIGKILL)

    # Then the next ones serve what was served
    until(lambda: server.said.text.count("this worker serves all the same") >= 2)  # type: ignore[attr-defined]
    until(lambda: server.predict(ROW).status_code == 200)

    # And when there is room again, they take part in the next deployment
    folder.unlink()
    until(lambda: len(server.workers()) == 2)
    assert server.deploy(*write(tmp_path, portable_bytes(bias=0.2)), "8").status_code == 200
    assert {server.predict(ROW).json()["model_version"] for _ in range(20)} == {"8"}


def test_a_deployment_on_a_full_disk_is_refused_and_works_once_there_is_room(
    server: ServingProcess, tmp_path: Path
) -> None:
    disk = Disk(server)
    eight = write(tmp_path, portable_bytes(bias=0.2))

    disk.fill()
    answer = server.deploy(*eight, "8")
    assert (answer.status_code, "cannot be written (File too large)" in answer.json()["detail"]) == (507, True)
    assert server.predict(ROW).json()["model_version"] == "7"
    assert not [path for path in server.state.rglob(".part-*") if path.stat().st_size]

    disk.empty()
    assert server.deploy(*eight, "8").status_code == 200
    assert {server.predict(ROW).json()["model_version"] for _ in range(10)} == {"8"}


def test_a_rollout_that_a_full_disk_cut_short_is_over_once_there_is_room(
    server: ServingProcess, tmp_path: Path
) -> None:
    # Given a canary under way when the disk fills up, and ends in vain
    plan = {"shadow_rows": 5, "watch_seconds": 60, "idle_seconds": 1.5, "share": 0.5}
    eight = write(tmp_path, portable_bytes(bias=0.2))
    assert server.deploy(*eight, "8", rollout=plan, rows=ROW * 5).status_code == 202
    until(lambda: server.rollout()["phase"] == "canary")
    disk = Disk(server)
    disk.fill()
    until(lambda: "a rollout cannot be ended now" in server.said.text)  # type: ignore[attr-defined]

    # When there is room again, Then it ends, and the next one can begin
    disk.empty()
    assert server.ended()["phase"] in ("aborted", "promoted")
    assert server.deploy(*eight, "9", rollout=plan | {"idle_seconds": 0.2}, rows=ROW * 5).status_code == 202
    assert server.ended()["phase"] == "promoted"
    httpx.get(f"{server.url}/readyz").raise_for_status()
