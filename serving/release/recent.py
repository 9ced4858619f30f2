"""The last requests that were answered, kept for a shadow to score again."""

from __future__ import annotations

from collections import deque
from threading import Lock

KEPT_BYTES = 2 * 2**20
LARGEST_BYTES = 65_536
"""A larger body is not kept: a shadow works in small bites, so that it holds up no request."""


class Recent:
    """Bodies of requests, the newest `KEPT_BYTES`; one thread puts in while another takes out."""

    def __init__(self, kept_bytes: int = KEPT_BYTES) -> None:
        self._kept_bytes = kept_bytes
        self._bodies: deque[bytes] = deque()
        self._bytes = 0
        self._lock = Lock()

    def __len__(self) -> int:
        return len(self._bodies)

    def put(self, body: bytes) -> None:
        """Keep a body, and forget the oldest ones where there is no room."""
        if len(body) > LARGEST_BYTES:
            return
        with self._lock:
            self._bodies.append(body)
            self._bytes += len(body)
            while self._bytes > self._kept_bytes:
                self._bytes -= len(self._bodies.popleft())

    def take(self) -> bytes | None:
        """The newest body, which is then forgotten; None when there is none."""
        with self._lock:
            if not self._bodies:
                return None
            body = self._bodies.pop()
            self._bytes -= len(body)
            return body
