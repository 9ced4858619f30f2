"""Load that costs its sender next to nothing: it costs the server little, and the others nothing."""

from __future__ import annotations

import socket
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import httpx
import pytest

from serving.access.caller import Scope
from serving.access.keys import KeyFile
from tests.portable_files import portable_bytes, write
from tests.serving_process import ServingProcess
from tests.waiting import until

HERE, ELSEWHERE = "127.0.0.1", "127.0.0.2"
ROW = b'{"rows":[{"distance":1,"hour":2,"carrier":"B6"}]}'
MB = 2**20


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServingProcess]:
    """A server that serves version 7, with room for 100 connections, 40 of them from one address."""
    folder = tmp_path_factory.mktemp("load")
    found = ServingProcess(
        folder / "state",
        SERVING_CONNECTIONS="100",
        SERVING_CONNECTIONS_PER_ADDRESS="40",
        SERVING_ACCESS_LOG="false",
    ).start()
    found.deploy(*write(folder, portable_bytes()), "7")
    yield found
    found.stop()


@contextmanager
def asked(
    server: ServingProcess, path: str, address: str = HERE, *, body: bytes | None = None
) -> Iterator[Counter[int]]:
    """The answers to somebody who asks ten times a second, each time on a connection of its own."""
    statuses: Counter[int] = Counter()
    over = threading.Event()

    def ask() -> None:
        while not over.is_set():
            with httpx.Client(transport=httpx.HTTPTransport(local_address=address), timeout=3) as client:
                try:
                    answer = client.request("GET" if body is None else "POST", f"{server.url}{path}", content=body)
                    statuses[answer.status_code] += 1
                except httpx.HTTPError:
                    statuses[0] += 1
            over.wait(0.1)

    thread = threading.Thread(target=ask)
    thread.start()
    yield statuses
    over.set()
    thread.join()


def memory(server: ServingProcess) -> int:
    """The most that the server ever had in memory, in bytes."""
    assert server.process is not None
    status = Path(f"/proc/{server.process.pid}/status").read_text()
    return int(status.split("VmHWM:")[1].split()[0]) * 1024


def sent_ahead(server: ServingProcess, end: float, *, reads: bool) -> None:
    """Requests without end on one connection, sent as fast as the server takes them."""
    requests = b"GET /healthz HTTP/1.1\r\nhost: x\r\n\r\n" * 10_000
    with socket.create_connection((HERE, server.port), timeout=0.2) as connection:
        while time.monotonic() < end:
            try:
                connection.sendall(requests)
            except TimeoutError:
                if reads:
                    connection.recv(MB)
            except OSError:
                return


@pytest.mark.parametrize("reads", [True, False])
def test_requests_sent_ahead_without_end_take_no_memory_and_no_health(server: ServingProcess, reads: bool) -> None:
    before, end = memory(server), time.monotonic() + 3
    threads = [threading.Thread(target=sent_ahead, args=(server, end), kwargs={"reads": reads}) for _ in range(30)]
    with asked(server, "/healthz", ELSEWHERE) as statuses:
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

    assert memory(server) - before < 60 * MB
    assert set(statuses) == {200}


def test_slow_connections_of_one_address_keep_neither_health_nor_the_others_waiting(server: ServingProcess) -> None:
    # Given ten times as many connections as one address may have, that all send their heads slowly
    with ExitStack() as stack:
        slow = [stack.enter_context(socket.create_connection((HERE, server.port))) for _ in range(400)]
        for one in slow:
            try:
                one.sendall(b"POST /v1/predict HTTP/1.1\r\nx-slow: ")
            except OSError:
                continue

        # Then that address is still told of the server's health, and another one is answered all it asks
        with (
            asked(server, "/healthz") as health,
            asked(server, "/readyz") as ready,
            asked(server, "/v1/predict", body=ROW) as here,
            asked(server, "/v1/predict", ELSEWHERE, body=ROW) as elsewhere,
        ):
            time.sleep(2)
    assert [set(each) for each in (health, ready, here, elsewhere)] == [{200}, {200}, {503}, {200}]


def test_when_every_place_is_taken_health_is_answered_still(server: ServingProcess) -> None:
    with ExitStack() as stack:
        for address in (HERE, ELSEWHERE, "127.0.0.3"):
            for _ in range(100):
                taken = stack.enter_context(socket.create_connection((HERE, server.port), source_address=(address, 0)))
                taken.sendall(b"GET /")
        with asked(server, "/healthz", "127.0.0.4") as health:
            time.sleep(1)

    assert set(health) == {200}


@pytest.fixture
def guarded(tmp_path: Path) -> Iterator[ServingProcess]:
    """A server that asks for keys, and lets an address err once in ten seconds."""
    found = ServingProcess(tmp_path / "state", SERVING_KEYS=str(tmp_path / "keys.json"), SERVING_REFUSALS="0.1").start()
    yield found
    found.stop()


def test_wrong_credentials_without_end_are_turned_away_and_right_ones_let_in(
    guarded: ServingProcess, tmp_path: Path
) -> None:
    key = KeyFile(tmp_path / "keys.json").new("app", frozenset({Scope.PREDICT}))

    def show(token: str, address: str = HERE) -> httpx.Response:
        transport = httpx.HTTPTransport(local_address=address)
        with httpx.Client(transport=transport, headers={"Authorization": f"Bearer {token}"}) as client:
            return client.get(f"{guarded.url}/v1/models")

    began = time.monotonic()
    answers = [show(f"guess-{number}") for number in range(30)]
    refused = [answer for answer in answers if answer.status_code == 429]

    # One at once, then one in ten seconds.
    assert answers[0].status_code == 401
    assert 30 - len(refused) <= 2 + (time.monotonic() - began) / 10
    assert {answer.headers["connection"] for answer in refused} == {"close"}
    assert all(1 <= int(answer.headers["retry-after"]) <= 10 for answer in refused)
    # A right one from there is let through, and others may err, too.
    until(lambda: show(key).status_code == 200)  # the file is read again within a second
    assert show("guess", ELSEWHERE).status_code == 401
