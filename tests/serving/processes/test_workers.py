from __future__ import annotations

import os
import signal
import socket
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import httpx
import pytest

from tests.portable_files import portable_bytes, write
from tests.serving_process import ServingProcess
from tests.waiting import PATIENCE, received, until

ROW = b'{"rows":[{"distance":1,"hour":2,"carrier":"B6"}]}'
PREDICT = b"POST /v1/predict HTTP/1.1\r\nhost: x\r\ncontent-length: %d\r\n\r\n%s" % (len(ROW), ROW)


class Client:
    """One keep-alive connection after another, a request after the other, as fast as they are answered.

    `failed` holds every request that was sent and not answered 200 in full; a connection that is refused is no request.
    """

    def __init__(self, port: int) -> None:
        self.port = port
        self.answered = 0
        self.closed_politely = 0
        self.failed: list[str] = []

    def run(self, stop: threading.Event) -> None:
        while not stop.is_set():
            try:
                connection = socket.create_connection(("127.0.0.1", self.port), timeout=PATIENCE)
            except OSError:
                time.sleep(0.05)
                continue
            with connection:
                self._talk(connection, stop)

    def _talk(self, connection: socket.socket, stop: threading.Event) -> None:
        while not stop.is_set():
            try:
                connection.sendall(PREDICT)
                answer = self._answer(connection)
            except OSError as error:
                self.failed.append(repr(error))
                return
            if not answer.startswith(b"HTTP/1.1 200"):
                self.failed.append(repr(answer[:80]))
                return
            self.answered += 1
            if b"connection: close" in answer:
                self.closed_politely += 1
                return

    def _answer(self, connection: socket.socket) -> bytes:
        found = b""
        while not found.endswith(b"]}"):
            if not (more := connection.recv(65_536)):
                raise ConnectionError(f"closed after {len(found)} bytes of an answer")
            found += more
        return found


@contextmanager
def load(port: int, clients: int) -> Iterator[list[Client]]:
    """Clients that ask all the time."""
    stop = threading.Event()
    found = [Client(port) for _ in range(clients)]
    threads = [threading.Thread(target=client.run, args=(stop,), daemon=True) for client in found]
    for thread in threads:
        thread.start()
    try:
        yield found
    finally:
        stop.set()
        for thread in threads:
            thread.join(timeout=PATIENCE)


def _replaced(server: ServingProcess, victim: int) -> bool:
    live = server.workers()
    return victim not in live and len(live) == 2


@contextmanager
def under_way(server: ServingProcess) -> Iterator[socket.socket]:
    """A connection on which a prediction is asked for; the server reads its body, of which ten bytes are missing."""
    head = b"POST /v1/predict HTTP/1.1\r\nhost: x\r\nexpect: 100-continue\r\ncontent-length: %d\r\n\r\n" % len(ROW)
    with socket.create_connection(("127.0.0.1", server.port), timeout=PATIENCE) as connection:
        connection.sendall(head + ROW[:-10])
        received(connection, lambda came: came.endswith(b"100 Continue\r\n\r\n"))
        yield connection


def refuses(server: ServingProcess) -> bool:
    """Whether a server takes no more connections."""
    try:
        socket.create_connection(("127.0.0.1", server.port), timeout=PATIENCE).close()
    except ConnectionRefusedError:
        return True
    return False


def deploy(server: ServingProcess, folder: Path) -> None:
    server.deploy(*write(folder, portable_bytes()), "7")


@pytest.fixture(scope="module")
def three(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServingProcess]:
    """A server of three workers that serves version 7."""
    folder = tmp_path_factory.mktemp("three")
    server = ServingProcess(folder / "state", SERVING_WORKERS="3").start()
    until(lambda: len(server.workers()) == 3)
    deploy(server, folder)
    yield server
    server.stop(signal.SIGKILL)


def test_workers_share_the_port_and_the_model(three: ServingProcess) -> None:
    with load(three.port, 12) as clients:
        until(lambda: all(client.answered > 20 for client in clients))

    assert [client.failed for client in clients] == [[]] * 12


def test_a_killed_worker_is_replaced_while_the_others_go_on(three: ServingProcess) -> None:
    before = three.workers()
    victim = min(before)

    with load(three.port, 8) as clients:
        until(lambda: sum(client.answered for client in clients) > 100)
        os.kill(victim, signal.SIGKILL)
        until(lambda: victim not in three.workers() and len(three.workers()) == 3)
        answered = sum(client.answered for client in clients)
        until(lambda: sum(client.answered for client in clients) > answered + 100)

    # Whoever was connected to the victim lost its connection, and nobody lost a second one.
    assert all(len(client.failed) <= 1 for client in clients)
    assert before - {victim} < three.workers()
    assert f"worker {victim} ended (SIGKILL); another one is started" in three.log.read_text()


def test_a_worker_told_to_stop_leaves_without_a_failed_request_and_is_replaced(three: ServingProcess) -> None:
    leaving = min(three.workers())

    with load(three.port, 12) as clients:
        until(lambda: sum(client.answered for client in clients) > 100)
        os.kill(leaving, signal.SIGTERM)
        until(lambda: leaving not in three.workers() and len(three.workers()) == 3)

    assert [client.failed for client in clients] == [[]] * 12


@pytest.mark.stack
@pytest.mark.parametrize("workers", ["1", "3"])
def test_a_server_told_to_stop_under_load_fails_no_request(tmp_path: Path, workers: str) -> None:
    server = ServingProcess(tmp_path / "state", SERVING_WORKERS=workers).start()
    try:
        deploy(server, tmp_path)
        with load(server.port, 16) as clients:
            until(lambda: all(client.answered > 10 for client in clients))
            code = server.stop(signal.SIGTERM)
    finally:
        server.stop(signal.SIGKILL)

    assert code in (0, -signal.SIGTERM)
    assert Counter(failure for client in clients for failure in client.failed) == {}
    assert all(client.closed_politely >= 1 for client in clients)
    assert not server.workers()


@pytest.mark.stack
def test_a_request_under_way_is_answered_before_the_server_ends(tmp_path: Path) -> None:
    server = ServingProcess(
        tmp_path / "state", SERVING_BODY_SECONDS=f"{PATIENCE:g}", SERVING_DRAIN_SECONDS="60"
    ).start()
    deploy(server, tmp_path)
    with under_way(server) as connection:
        assert server.process is not None
        server.process.send_signal(signal.SIGTERM)
        until(lambda: refuses(server))
        connection.sendall(ROW[-10:])
        answer = Client(server.port)._answer(connection)

    assert answer.startswith(b"HTTP/1.1 200")
    assert b"connection: close" in answer
    assert server.process.wait(timeout=PATIENCE) in (0, -signal.SIGTERM)


@pytest.mark.stack
def test_a_request_that_never_ends_does_not_keep_the_server_from_ending(tmp_path: Path) -> None:
    # Given a request whose body may come for longer than this test waits for the server's end
    patient = {"SERVING_DRAIN_SECONDS": "1", "SERVING_BODY_SECONDS": f"{10 * PATIENCE:g}"}
    server = ServingProcess(tmp_path / "state", **patient).start()
    with under_way(server):
        # When the server is told to stop, then it ends
        assert server.stop(signal.SIGTERM) in (0, -signal.SIGTERM)


@pytest.mark.stack
def test_workers_leave_when_their_parent_is_killed(tmp_path: Path) -> None:
    server = ServingProcess(tmp_path / "state", SERVING_WORKERS="2").start()
    until(lambda: len(server.workers()) == 2)
    workers = server.workers()

    server.stop(signal.SIGKILL)

    until(lambda: not [pid for pid in workers if Path(f"/proc/{pid}").exists()])


@pytest.mark.stack
def test_a_setting_that_no_worker_can_start_with_ends_the_parent_too(tmp_path: Path) -> None:
    keys = tmp_path / "keys.json"
    keys.write_text("{")

    with pytest.raises(AssertionError, match=r"(?s)serving ended with 78: .*not a file of API keys"):
        ServingProcess(tmp_path / "state", SERVING_WORKERS="2", SERVING_KEYS=str(keys)).start()


@pytest.mark.stack
def test_a_worker_that_dies_again_and_again_is_started_ever_more_slowly(tmp_path: Path) -> None:
    server = ServingProcess(tmp_path / "state", SERVING_WORKERS="2").start()
    try:
        until(lambda: len(server.workers()) == 2)
        stays = max(server.workers())
        gaps = []
        for _ in range(3):
            victim = min(server.workers() - {stays})
            killed = time.monotonic()
            os.kill(victim, signal.SIGKILL)
            until(partial(_replaced, server, victim))
            gaps.append(time.monotonic() - killed)
        assert gaps[2] >= 1.0
        assert httpx.get(f"{server.url}/healthz").status_code == 200
    finally:
        server.stop()
