"""A load generator that is not the limit: raw HTTP/1.1 on kept connections, each asking again once it is answered."""

from __future__ import annotations

import asyncio
import re
import resource
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import partial
from itertools import count
from typing import cast

import uvloop

_LENGTH = re.compile(rb"\r\ncontent-length: *(\d+)", re.IGNORECASE)
_OK = b"200"
START_SECONDS = 10
STUCK_SECONDS = 60


@dataclass
class Measured:
    """What a run gave; `busy` is the generator's own share of its core, near 1 it was the limit."""

    seconds: float = 0.0
    latencies: list[float] = field(default_factory=list)
    errors: int = 0
    busy: float = 0.0

    @property
    def rate(self) -> float:
        """Requests answered well a second."""
        return len(self.latencies) / self.seconds

    def milliseconds(self, share: float) -> float:
        """The latency that this share of the requests does not exceed."""
        return percentile(self.latencies, share)


def percentile(latencies: Sequence[float], share: float) -> float:
    """In ms, the nearest rank of latencies in seconds."""
    ordered = sorted(latencies)
    return ordered[min(int(share * len(ordered)), len(ordered) - 1)] * 1000 if ordered else float("nan")


class Client(asyncio.Protocol):
    """One connection: sends the requests in turn, one at a time, until the time is over."""

    def __init__(self, requests: Sequence[bytes], first: int, deadline: float, measured: Measured) -> None:
        self.done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._requests = requests
        self._next = count(first)
        self._deadline = deadline
        self._measured = measured
        self._buffer = b""
        self._sent_at = 0.0
        self._transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        self._send()

    def data_received(self, data: bytes) -> None:
        self._buffer = self._buffer + data if self._buffer else data
        head = self._buffer.find(b"\r\n\r\n")
        if head < 0:
            return
        length = _LENGTH.search(self._buffer, 0, head)
        if length is not None and len(self._buffer) < head + 4 + int(length[1]):
            return
        now = time.perf_counter()
        if self._buffer[9:12] == _OK:
            self._measured.latencies.append(now - self._sent_at)
        else:
            self._measured.errors += 1
        self._buffer = b""
        if now < self._deadline:
            self._send()
        elif self._transport is not None:
            self.done.set_result(None)
            self._transport.close()

    def connection_lost(self, exc: Exception | None) -> None:
        if not self.done.done():
            self._measured.errors += 1
            self.done.set_result(None)

    def _send(self) -> None:
        if self._transport is not None:
            self._sent_at = time.perf_counter()
            self._transport.write(self._requests[next(self._next) % len(self._requests)])


def post(path: str, body: bytes, headers: dict[str, str] | None = None) -> bytes:
    """A request, ready to be sent as it is."""
    lines = {
        "Host": "bench", "Content-Type": "application/json", "Content-Length": str(len(body)), **(headers or {}),
    }  # fmt: skip
    head = "".join(f"{name}: {value}\r\n" for name, value in lines.items())
    return f"POST {path} HTTP/1.1\r\n{head}\r\n".encode() + body


def measure(port: int, requests: Sequence[bytes], clients: int, seconds: float) -> Measured:
    """This many clients ask 127.0.0.1:port for so long."""
    return uvloop.run(_measure(port, requests, clients, seconds))


async def _measure(port: int, requests: Sequence[bytes], clients: int, seconds: float) -> Measured:
    measured = Measured()
    loop = asyncio.get_running_loop()
    started, cpu = time.perf_counter(), _cpu_seconds()
    deadline = started + seconds
    connected = []
    for number in range(clients):
        first = number * len(requests) // clients
        opening = loop.create_connection(partial(Client, requests, first, deadline, measured), "127.0.0.1", port)
        connected.append(await asyncio.wait_for(opening, START_SECONDS))
    await asyncio.wait([client.done for _, client in connected], timeout=seconds + STUCK_SECONDS)
    measured.errors += sum(not client.done.done() for _, client in connected)
    for transport, _ in connected:
        transport.close()
    measured.seconds = time.perf_counter() - started
    measured.busy = (_cpu_seconds() - cpu) / measured.seconds
    return measured


def _cpu_seconds() -> float:
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime
