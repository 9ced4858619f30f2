from __future__ import annotations

import json
import select
import signal
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack
from itertools import pairwise
from pathlib import Path

import httpx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.portable_files import portable_bytes, write
from tests.serving_process import ServingProcess
from tests.waiting import PATIENCE, received, until

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
    found.deploy(*write(folder, portable_bytes()), "7")
    yield found
    found.stop(signal.SIGKILL)


@pytest.fixture
def connection(server: ServingProcess) -> Iterator[socket.socket]:
    with socket.create_connection(("127.0.0.1", server.port), timeout=PATIENCE) as found:
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
    return received(connection, lambda came: came.endswith(b"}"))


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
    trickle(connection, PREDICT)  # the whole of it would be answered

    assert everything(connection).startswith(b"HTTP/1.1 408 ")


def test_a_connection_on_which_nothing_is_asked_is_closed(connection: socket.socket) -> None:
    assert everything(connection) == b""


def test_lines_before_a_head_do_not_keep_a_connection(connection: socket.socket) -> None:
    trickle(connection, b"\r\n" * 200)

    everything(connection)


def test_a_second_head_that_trickles_in_is_cut_off_too(connection: socket.socket) -> None:
    assert ask(connection).startswith(b"HTTP/1.1 200")
    trickle(connection, PREDICT)

    assert b"HTTP/1.1 408 " in everything(connection)


def test_an_idle_connection_is_kept_for_a_while_only(server: ServingProcess) -> None:
    """Longer than a head may take, and no longer than it is kept; a pause of this machine's begins it again."""

    def asked_again_after_a_second() -> bool:
        with socket.create_connection(("127.0.0.1", server.port), timeout=PATIENCE) as connection:
            asked = time.monotonic()
            assert ask(connection).startswith(b"HTTP/1.1 200")
            time.sleep(1)
            connection.sendall(PREDICT)
            if time.monotonic() - asked >= 2:
                return False
            again = time.monotonic()
            assert received(connection, lambda came: came.endswith(b"}")).startswith(b"HTTP/1.1 200")
            assert everything(connection) == b""
            return time.monotonic() - again > 1

    until(asked_again_after_a_second)


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
    def five_are_answered_while_fifteen_are_slow() -> bool:
        with ExitStack() as stack:
            slow = [
                stack.enter_context(socket.create_connection(("127.0.0.1", server.port), timeout=PATIENCE))
                for _ in range(15)
            ]
            for one in slow:
                one.sendall(HEAD)
            answers = [httpx.post(f"{server.url}/v1/predict", content=ROW, timeout=PATIENCE) for _ in range(5)]
            ended, _, _ = select.select(slow, [], [], 0)
            return not ended and {answer.status_code for answer in answers} == {200}

    # The slow ones are cut off soon, and a pause of this machine's may be longer.
    until(five_are_answered_while_fifteen_are_slow)


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
    assert time.monotonic() - began < PATIENCE


def test_an_ordinary_client_gets_to_read_why_its_100_mb_are_refused(server: ServingProcess) -> None:
    answer = httpx.post(f"{server.url}/v1/predict", content=b"x" * HUNDRED_MB, timeout=PATIENCE)

    assert answer.status_code == 413


def hold_one_more(server: ServingProcess, held: list[socket.socket]) -> int:
    """Hold one more connection if there is room, which those of earlier tests may still take; how many are held."""
    held.append(socket.create_connection(("127.0.0.1", server.port), timeout=PATIENCE))
    if not ask(held[-1]).startswith(b"HTTP/1.1 200"):
        held.pop().close()
    return len(held)


def test_a_connection_too_many_is_told_to_come_again(server: ServingProcess) -> None:
    held: list[socket.socket] = []
    try:
        until(lambda: hold_one_more(server, held) == 20)
        with socket.create_connection(("127.0.0.1", server.port), timeout=PATIENCE) as further:
            further.sendall(PREDICT)
            answer = everything(further)
        health = httpx.get(f"{server.url}/healthz", timeout=PATIENCE)
    finally:
        for one in held:
            one.close()

    assert answer.startswith(b"HTTP/1.1 503 ")
    assert b"retry-after: 1" in answer
    assert (health.status_code, health.headers["connection"]) == (200, "close")
    until(lambda: httpx.get(f"{server.url}/readyz").status_code == 200)


def test_a_head_that_is_too_large_is_refused_though_it_comes_at_once(connection: socket.socket) -> None:
    connection.sendall(b"GET /healthz HTTP/1.1\r\nhost: x\r\nx-large: " + b"y" * 40_000 + b"\r\n\r\n")

    assert everything(connection).startswith(b"HTTP/1.1 431 ")


def test_many_headers_are_a_large_head_too(connection: socket.socket) -> None:
    connection.sendall(b"GET /healthz HTTP/1.1\r\n" + b"x: y\r\n" * 10_000 + b"\r\n")

    assert everything(connection).startswith(b"HTTP/1.1 431 ")


def test_a_large_head_behind_a_request_does_not_cost_that_its_answer(connection: socket.socket) -> None:
    connection.sendall(PREDICT + b"GET /healthz HTTP/1.1\r\nx-large: " + b"y" * 40_000 + b"\r\n\r\n")

    answer = everything(connection)

    # The refusal has no place before the answer that is due; it may follow it.
    assert answer.startswith(b"HTTP/1.1 200 ")
    assert answer.count(b"HTTP/1.1 200 ") == 1


def test_a_large_head_that_begins_together_with_a_request_is_refused(connection: socket.socket) -> None:
    # Given the first half of a large head in the same packet as the request before it
    connection.sendall(PREDICT + b"GET /healthz HTTP/1.1\r\nx-large: " + b"y" * 20_000)
    found = received(connection, lambda came: came.endswith(b"]}"))

    # When the second half comes
    connection.sendall(b"y" * 20_000 + b"\r\n\r\n")

    # Then it is as large as if it had come at once
    assert found.startswith(b"HTTP/1.1 200 ")
    assert everything(connection).startswith(b"HTTP/1.1 431 ")


def test_a_large_body_is_not_taken_for_a_large_head(connection: socket.socket) -> None:
    padded = ROW + b" " * 60_000
    request = HEAD + b"content-length: %d\r\n\r\n" % len(padded) + padded
    connection.sendall(request * 2 + HEAD)
    time.sleep(0.2)
    connection.sendall(b"content-length: %d\r\n\r\n" % len(ROW) + ROW)
    found = received(connection, lambda came: came.count(b'"model_version":"7"') == 3)

    assert found.count(b"HTTP/1.1 200 OK") == 3


def test_a_body_of_many_lines_is_read_whole(connection: socket.socket) -> None:
    pretty = ROW.replace(b",", b",\n" + b"\n" * 5_000)
    connection.sendall(HEAD + b"content-length: %d\r\n\r\n" % len(pretty) + pretty)
    found = received(connection, lambda came: came.endswith(b"]}"))

    assert found.startswith(b"HTTP/1.1 200 ")


def test_thousands_of_requests_sent_ahead_are_all_answered_in_order(connection: socket.socket) -> None:
    # Given more than a server reads at once
    count = 3_000
    requests = b"".join(
        b"GET /healthz HTTP/1.1\r\nhost: x\r\nx-request-id: %d\r\n\r\n" % number for number in range(count)
    )
    threading.Thread(target=connection.sendall, args=(requests,), daemon=True).start()

    found = received(connection, lambda came: came.count(b'{"status":"alive"}') == count)

    ids = [int(line.split()[1]) for line in found.split(b"\r\n") if line.startswith(b"x-request-id: ")]
    assert ids == list(range(count))


KINDS = (
    b"GET /healthz HTTP/1.1\r\nhost: x\r\nx-request-id: %d\r\n\r\n",
    b"HEAD /readyz HTTP/1.1\r\nx-request-id: %d\r\n\r\n",
    HEAD + b"x-request-id: %%d\r\ncontent-length: %d\r\n\r\n" % len(ROW) + ROW,
    HEAD + b"x-request-id: %%d\r\ncontent-length: 3000\r\n\r\n%s" % (b"\n" * 3000),
    HEAD + b"x-request-id: %d\r\ntransfer-encoding: chunked\r\n\r\n2\r\n\n\n\r\n0\r\n\r\n",
)


@settings(max_examples=40, deadline=None)
@given(st.lists(st.sampled_from(KINDS), min_size=1, max_size=120), st.lists(st.integers(1, 9_000), max_size=8))
def test_however_requests_come_each_is_answered_once_and_in_order(
    server: ServingProcess, kinds: list[bytes], cuts: list[int]
) -> None:
    sent = b"".join(kind % number for number, kind in enumerate(kinds))
    places = sorted({0, len(sent), *(cut for cut in cuts if cut < len(sent))})
    with socket.create_connection(("127.0.0.1", server.port), timeout=PATIENCE) as connection:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for begin, end in pairwise(places):
            connection.sendall(sent[begin:end])
            time.sleep(0.001)
        found = received(connection, lambda came: came.count(b"x-request-id: ") == len(kinds))

    ids = [int(line.split()[1]) for line in found.split(b"\r\n") if line.startswith(b"x-request-id: ")]
    assert ids == list(range(len(kinds)))


def test_requests_sent_ahead_are_answered_in_order(connection: socket.socket) -> None:
    connection.sendall(PREDICT * 5)
    found = received(connection, lambda came: came.count(b'"model_version":"7"') == 5)

    assert found.count(b"HTTP/1.1 200 OK") == 5


def test_answers_without_a_body_are_sent_too(connection: socket.socket) -> None:
    expects = HEAD + b"expect: 100-continue\r\ncontent-length: %d\r\n\r\n" % len(ROW)
    connection.sendall(b"HEAD /v1/nothing HTTP/1.1\r\nhost: x\r\n\r\n" + expects)
    found = received(connection, lambda came: b"100 Continue" in came)
    connection.sendall(ROW)
    found += received(connection, lambda came: b'"model_version":"7"' in came)

    statuses = [line.split()[1] for line in found.split(b"\r\n") if line.startswith(b"HTTP/1.1 ")]
    assert statuses == [b"404", b"100", b"200"]


def test_what_a_caller_sends_becomes_no_line_and_no_command_in_the_log(server: ServingProcess) -> None:
    odd = b'\x1b[31mred\x1b[0m\r{"level":"error"}\xc2\x9b2J\xe2\x80\xa8'
    sent = [
        b"GET /v1/" + odd.replace(b"\r", b"") + b" HTTP/1.1\r\nhost: x\r\n\r\n",
        b"GET /v1/%0a%1b[31m%0d%c2%9b HTTP/1.1\r\nhost: x\r\n\r\n",
        b"GET /healthz HTTP/1.1\r\nhost: x\r\nx-request-id: " + odd[:12] + b"\r\nuser-agent: " + odd[:12] + b"\r\n\r\n",
        b"GET /v1/model HTTP/1.1\r\nhost: x\r\nauthorization: Bearer " + odd[:12] + b"\r\n\r\n",
        b"G\x1bT / HTTP/1.1\r\n\r\n",
        HEAD + b"traceparent: 00-\x1b\r\ncontent-length: 9\r\n\r\n\x1b[31m\r\n{}",
    ]
    before = len(server.log.read_bytes())
    for one in sent:
        with socket.create_connection(("127.0.0.1", server.port), timeout=5) as connection:
            connection.sendall(one)
            connection.shutdown(socket.SHUT_WR)
            everything(connection)
    httpx.get(f"{server.url}/healthz", headers={"x-request-id": "the-last-one"})
    until(lambda: b"the-last-one" in server.log.read_bytes()[before:])

    written = server.log.read_bytes()[before:].decode()
    assert not [character for character in written if character != "\n" and not character.isprintable()]
    assert all(json.loads(line)["level"] in ("info", "warning") for line in written.splitlines())


def test_every_answer_forbids_browsers_everything(server: ServingProcess) -> None:
    answers = [
        httpx.get(f"{server.url}/healthz"),
        httpx.get(f"{server.url}/no/such"),
        httpx.post(f"{server.url}/v1/predict", content=ROW),
        httpx.get(f"{server.url}/v1/models/nobody"),
    ]

    assert [answer.status_code for answer in answers] == [200, 404, 200, 404]
    for answer in answers:
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert answer.headers["cache-control"] == "no-store"
        assert answer.headers["content-security-policy"] == "default-src 'none'; frame-ancestors 'none'"
        assert answer.headers["x-request-id"]
        assert "server" not in answer.headers
