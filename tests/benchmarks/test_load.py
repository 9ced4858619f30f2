from __future__ import annotations

import socketserver
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from benchmarks.load import measure, percentile, post


@contextmanager
def server(*answers: bytes) -> Iterator[tuple[int, list[bytes]]]:
    """Gives the answers in turn, a piece at a time, on each connection; None of them ends it. And what it was asked."""
    asked: list[bytes] = []

    class Handler(socketserver.BaseRequestHandler):
        def handle(self) -> None:
            number = 0
            while request := self.request.recv(65_536):
                asked.append(request)
                answer = answers[number % len(answers)]
                number += 1
                if not answer:
                    return
                for place in range(0, len(answer), 40):
                    self.request.sendall(answer[place : place + 40])

    class Server(socketserver.ThreadingTCPServer):
        daemon_threads = True

    with Server(("127.0.0.1", 0), Handler) as running:
        thread = threading.Thread(target=running.serve_forever, args=(0.02,))
        thread.start()
        yield int(running.server_address[1]), asked
        running.shutdown()
        thread.join()


def answered(status: int, body: bytes) -> bytes:
    return b"HTTP/1.1 %d X\r\nContent-Type: text/plain\r\ncontent-length: %d\r\n\r\n%s" % (status, len(body), body)


def test_every_request_is_asked_and_timed() -> None:
    requests = [post("/v1/predict", b'{"rows":[1]}', {"Authorization": "Bearer x"}), post("/v1/predict", b"{}")]

    with server(answered(200, b"x" * 500)) as (port, asked):
        found = measure(port, requests, clients=3, seconds=0.3)

    assert found.errors == 0
    assert len(found.latencies) == len(asked) >= 3
    assert set(asked) == set(requests)
    assert b"\r\nAuthorization: Bearer x\r\n" in requests[0]
    assert requests[0].endswith(b'Content-Length: 12\r\nAuthorization: Bearer x\r\n\r\n{"rows":[1]}')
    assert 0 < found.milliseconds(0.5) <= found.milliseconds(0.99)
    assert found.rate == pytest.approx(len(asked) / found.seconds)


def test_an_answer_that_is_not_200_is_an_error_and_no_latency() -> None:
    with server(answered(200, b""), answered(503, b"busy")) as (port, asked):
        found = measure(port, [post("/", b"")], clients=2, seconds=0.2)

    assert found.errors + len(found.latencies) == len(asked)
    assert abs(found.errors - len(found.latencies)) <= 2
    assert found.errors > 0


def test_a_connection_that_is_closed_is_an_error() -> None:
    with server(answered(200, b""), b"") as (port, _):
        found = measure(port, [post("/", b"")], clients=4, seconds=0.2)

    assert (found.errors, len(found.latencies)) == (4, 4)


def test_percentiles_are_of_the_nearest_rank() -> None:
    latencies = [place / 1000 for place in range(1, 101)]

    assert [percentile(latencies, share) for share in (0.0, 0.5, 0.99, 1.0)] == [1.0, 51.0, 100.0, 100.0]
