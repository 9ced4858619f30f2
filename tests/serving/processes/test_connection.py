from __future__ import annotations

import signal
import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from tests.portable_files import portable_bytes, write
from tests.serving_process import ServingProcess
from tests.waiting import until

ROW = b'{"rows":[{"distance":1,"hour":2,"carrier":"B6"}]}'
HEAD = b"POST /v1/predict HTTP/1.1\r\nhost: x\r\n"
PREDICT = HEAD + b"content-length: %d\r\n\r\n" % len(ROW) + ROW
HUNDRED_MB = 100 * 2**20


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServingProcess]:
    """A server with little patience, that serves version 7."""
    folder = tmp_path_factory.mktemp("connection")
    found = ServingProcess(
        folder / "state",
        SERVING_HEAD_SECONDS="0.5",
        SERVING_BODY_SECONDS="0.5",
        SERVING_KEEP_ALIVE_SECONDS="2",
        SERVING_CONNECTIONS="20",
    ).start()
    found.deploy(*write(folder, portable_bytes()), "7").raise_for_status()
    yield found
    found.stop(signal.SIGKILL)


@pytest.fixture
def connection(server: ServingProcess) -> Iterator[socket.socket]:
    with socket.create_connection(("127.0.0.1", server.port), timeout=10) as found:
        yield found


def everything(connection: socket.socket) -> bytes:
    """What the server sends until it ends the connection; a reset is an end too."""
    found = b""
    try:
        while more := connection.recv(65_536):
            found += more
    except ConnectionResetError:
        pass
    return found


def ask(connection: socket.socket) -> bytes:
    """Ask for a prediction and read the answer."""
    connection.sendall(PREDICT)
    found = b""
    while not found.endswith(b"]}"):
        found += connection.recv(65_536)
    return found


def trickle(connection: socket.socket, content: bytes) -> None:
    """Send a byte at a time, ten a second, until the server has enough."""

    def send() -> None:
        try:
            for place in range(len(content)):
                connection.sendall(content[place : place + 1])
                time.sleep(0.1)
        except OSError:
            return

    threading.Thread(target=send, daemon=True).start()


def test_a_head_that_trickles_in_is_cut_off(connection: socket.socket) -> None:
    began = time.monotonic()
    trickle(connection, PREDICT)

    assert everything(connection).startswith(b"HTTP/1.1 408 ")
    assert time.monotonic() - began < 5


def test_a_connection_on_which_nothing_is_asked_is_closed(connection: socket.socket) -> None:
    assert everything(connection) == b""


def test_lines_before_a_head_do_not_keep_a_connection(connection: socket.socket) -> None:
    trickle(connection, b"\r\n" * 200)

    everything(connection)


def test_a_second_head_that_trickles_in_is_cut_off_too(connection: socket.socket) -> None:
    assert ask(connection).startswith(b"HTTP/1.1 200")
    trickle(connection, PREDICT)

    assert b"HTTP/1.1 408 " in everything(connection)


def test_an_idle_connection_is_kept_for_a_while_only(connection: socket.socket) -> None:
    assert ask(connection).startswith(b"HTTP/1.1 200")
    time.sleep(1)
    assert ask(connection).startswith(b"HTTP/1.1 200")

    began = time.monotonic()
    assert everything(connection) == b""
    assert 1 < time.monotonic() - began < 8


def test_a_body_that_trickles_in_is_cut_off(connection: socket.socket) -> None:
    connection.sendall(HEAD + b"content-length: 1000\r\n\r\n")
    trickle(connection, b"x" * 1000)

    answer = everything(connection)

    assert answer.startswith(b"HTTP/1.1 408 ")
    assert answer.endswith(b'{"detail":"the body did not come within 0.5 s"}')


def test_a_body_that_never_begins_is_cut_off(connection: socket.socket) -> None:
    connection.sendall(HEAD + b"content-length: 1000\r\n\r\n")

    assert everything(connection).startswith(b"HTTP/1.1 408 ")


def test_slow_clients_do_not_slow_the_others(server: ServingProcess) -> None:
    slow = [socket.create_connection(("127.0.0.1", server.port)) for _ in range(15)]
    try:
        for one in slow:
            trickle(one, PREDICT)
        times = []
        for _ in range(20):
            began = time.monotonic()
            answer = httpx.post(f"{server.url}/v1/predict", content=ROW, timeout=10)
            times.append(time.monotonic() - began)
            assert answer.status_code == 200
        assert sorted(times)[10] < 1
    finally:
        for one in slow:
            one.close()


def test_a_head_without_end_is_refused(server: ServingProcess, connection: socket.socket) -> None:
    try:
        connection.sendall(HEAD)
        for place in range(1000):
            connection.sendall(b"x-%d: %s\r\n" % (place, b"y" * 1000))
    except OSError:
        pass

    assert everything(connection).startswith((b"HTTP/1.1 431 ", b""))
    assert httpx.get(f"{server.url}/readyz").status_code == 200


def test_a_head_somewhat_too_large_is_told_so(connection: socket.socket) -> None:
    connection.sendall(HEAD + b"x-large: " + b"y" * 40_000)

    assert everything(connection).startswith(b"HTTP/1.1 431 ")


def test_what_is_no_http_is_refused(server: ServingProcess, connection: socket.socket) -> None:
    connection.sendall(b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03 hello over TLS\r\n\r\n")

    assert everything(connection).startswith(b"HTTP/1.1 400 ")
    assert "Traceback" not in server.log.read_text()


def resident(server: ServingProcess) -> int:
    assert server.process is not None
    status = Path(f"/proc/{server.process.pid}/status").read_text()
    return int(status.split("VmHWM:")[1].split()[0]) * 1024


@pytest.mark.parametrize("chunked", [False, True])
def test_a_body_of_100_mb_is_refused_and_held_nowhere(
    server: ServingProcess, connection: socket.socket, chunked: bool
) -> None:
    before = resident(server)
    if chunked:
        connection.sendall(HEAD + b"transfer-encoding: chunked\r\n\r\n")
        piece = b"%x\r\n%s\r\n" % (2**20, b"x" * 2**20)
    else:
        connection.sendall(HEAD + b"content-length: %d\r\n\r\n" % HUNDRED_MB)
        piece = b"x" * 2**20
    began, sent = time.monotonic(), 0
    try:
        while sent < HUNDRED_MB:
            connection.sendall(piece)
            sent += 2**20
    except OSError:
        pass

    answer = everything(connection)

    assert answer.startswith(b"HTTP/1.1 413 ")
    assert b'{"detail":"the body is larger than 4194304 bytes"}' in answer
    assert resident(server) - before < 30 * 2**20
    assert time.monotonic() - began < 30


def test_an_ordinary_client_gets_to_read_why_its_100_mb_are_refused(server: ServingProcess) -> None:
    answer = httpx.post(f"{server.url}/v1/predict", content=b"x" * HUNDRED_MB, timeout=30)

    assert answer.status_code == 413


def test_a_connection_too_many_is_told_to_come_again(server: ServingProcess) -> None:
    held = []
    try:
        for _ in range(20):
            held.append(socket.create_connection(("127.0.0.1", server.port)))
            assert ask(held[-1]).startswith(b"HTTP/1.1 200")
        with socket.create_connection(("127.0.0.1", server.port), timeout=10) as further:
            answer = everything(further)
    finally:
        for one in held:
            one.close()

    assert answer.startswith(b"HTTP/1.1 503 ")
    assert b"retry-after: 1" in answer
    until(lambda: httpx.get(f"{server.url}/readyz").status_code == 200)


def test_requests_sent_ahead_are_answered_in_order(connection: socket.socket) -> None:
    connection.sendall(PREDICT * 5)
    found = b""
    while found.count(b'"model_version":"7"') < 5:
        found += connection.recv(65_536)

    assert found.count(b"HTTP/1.1 200 OK") == 5


def test_answers_without_a_body_are_sent_too(connection: socket.socket) -> None:
    expects = HEAD + b"expect: 100-continue\r\ncontent-length: %d\r\n\r\n" % len(ROW)
    connection.sendall(b"HEAD /v1/nothing HTTP/1.1\r\nhost: x\r\n\r\n" + expects)
    found = b""
    while b"100 Continue" not in found:
        found += connection.recv(65_536)
    connection.sendall(ROW)
    while b'"model_version":"7"' not in found:
        found += connection.recv(65_536)

    statuses = [line.split()[1] for line in found.split(b"\r\n") if line.startswith(b"HTTP/1.1 ")]
    assert statuses == [b"404", b"100", b"200"]


def test_every_answer_forbids_browsers_everything(server: ServingProcess) -> None:
    answers = [
        httpx.get(f"{server.url}/healthz"),
        httpx.get(f"{server.url}/no/such"),
        httpx.post(f"{server.url}/v1/predict", content=ROW),
        httpx.post(f"{server.url}/admin/deployments"),
    ]

    assert [answer.status_code for answer in answers] == [200, 404, 200, 401]
    for answer in answers:
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert answer.headers["cache-control"] == "no-store"
        assert answer.headers["content-security-policy"] == "default-src 'none'; frame-ancestors 'none'"
        assert answer.headers["x-request-id"]
        assert "server" not in answer.headers
