"""A proxy before an S3 that turns away, breaks off and loses answers, by what is asked and how often it was."""

from __future__ import annotations

import http.client
import re
import socket
import struct
import threading
import zlib
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, ClassVar
from urllib.parse import urlsplit

from tests.waiting import PATIENCE

HOP_BY_HOP = {"connection", "transfer-encoding", "content-length", "server", "date", "keep-alive"}


class Fault(Enum):
    """What becomes of a request."""

    NONE = "it is answered"
    SLOW_DOWN = "503 SlowDown; the store never sees it"
    CONFLICT = "409, another exclusive write is under way; the store never sees it"
    RESET = "the connection is reset; the store never sees it"
    LOST = "the store does it; the connection is reset before the answer"
    HALF = "the store does it; the connection is reset in the middle of the answer"


@dataclass(frozen=True)
class Request:
    """A request: its place among all of them, and how often the same was asked by now (both from 1)."""

    number: int
    method: str
    path: str
    times: int


def third_and_fourth(request: Request) -> Fault:
    """A third of all requests is refused, in one way or the other; of a fourth the answer is lost in the middle.

    Which ones depends on what is asked, not on when: threads that ask side by side do not change it.
    """
    key = re.sub(r"^/[^/?]+", "", request.path)  # without the bucket, whose name is drawn by lot
    lot = zlib.crc32(f"{request.method} {key} {request.times}".encode()) % 12
    if lot < 4:
        return Fault.SLOW_DOWN if lot % 2 else Fault.RESET
    return Fault.HALF if lot < 7 else Fault.NONE


class FaultProxy:
    """Stands before a server; `fault` says what becomes of a request."""

    def __init__(self, upstream: str, fault: Callable[[Request], Fault]) -> None:
        self.seen: list[tuple[Request, Fault]] = []
        asked = Counter[tuple[str, str]]()
        lock = threading.Lock()

        def next_fault(method: str, path: str) -> Fault:
            with lock:
                asked[method, path] += 1
                request = Request(len(self.seen) + 1, method, path, asked[method, path])
                chosen = fault(request)
                self.seen.append((request, chosen))
                return chosen

        handler = type("Handler", (_Handler,), {"upstream": urlsplit(upstream), "next_fault": staticmethod(next_fault)})
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
        self._server.daemon_threads = True
        threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True).start()

    @property
    def url(self) -> str:
        """Where it listens."""
        return f"http://127.0.0.1:{self._server.server_address[1]}"

    def faults(self) -> int:
        """How many requests did not go well."""
        return sum(fault is not Fault.NONE for _, fault in self.seen)

    def close(self) -> None:
        """Stop listening."""
        self._server.shutdown()
        self._server.server_close()


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True  # an answer's head and body are two packets
    upstream: ClassVar[Any]
    next_fault: ClassVar[Callable[[str, str], Fault]]

    def log_message(self, *_: object) -> None:
        pass

    def _any(self) -> None:
        body = self.rfile.read(int(self.headers.get("content-length") or 0))
        fault = type(self).next_fault(self.command, self.path)
        if fault is Fault.RESET:
            return self._reset()
        if fault is Fault.SLOW_DOWN:
            return self._answer(503, [], b"<Error><Code>SlowDown</Code><Message>Reduce your rate.</Message></Error>")
        if fault is Fault.CONFLICT:
            return self._answer(409, [], b"<Error><Code>ConditionalRequestConflict</Code></Error>")
        connection = http.client.HTTPConnection(self.upstream.netloc, timeout=PATIENCE)
        connection.request(self.command, self.path, body, dict(self.headers))
        answer = connection.getresponse()
        content = answer.read()
        kept = [(name, value) for name, value in answer.getheaders() if name.lower() not in HOP_BY_HOP]
        length = answer.getheader("content-length", "0") if self.command == "HEAD" else str(len(content))
        connection.close()
        if fault is Fault.LOST:
            return self._reset()
        self.send_response(answer.status)
        for name, value in [*kept, ("Content-Length", length)]:
            self.send_header(name, value)
        if fault is Fault.HALF:
            if content:
                self.end_headers()
                self.wfile.write(content[: len(content) // 2])
            return self._reset()
        self.end_headers()
        self.wfile.write(content)
        return None

    do_GET = do_PUT = do_POST = do_HEAD = do_DELETE = _any  # noqa: N815

    def _answer(self, status: int, headers: list[tuple[str, str]], content: bytes) -> None:
        self.send_response(status)
        for name, value in [*headers, ("Content-Length", str(len(content)))]:
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(content if self.command != "HEAD" else b"")

    def _reset(self) -> None:
        self.wfile.flush()
        self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.close_connection = True
        self.connection.close()
