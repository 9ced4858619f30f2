"""Waiting for what happens soon, and reading what a peer sends."""

from __future__ import annotations

import socket
import time
from collections.abc import Callable

PATIENCE = 120.0
"""Seconds to wait for what does happen: longer than the busiest machine takes, as only a failure waits so long."""


def until(true: Callable[[], object]) -> None:
    """Wait until a function says so."""
    deadline = time.monotonic() + PATIENCE
    while not true():
        assert time.monotonic() < deadline, f"it did not happen in {PATIENCE:g} s"
        time.sleep(0.02)


def received(connection: socket.socket, enough: Callable[[bytes], object]) -> bytes:
    """What a connection brings until it is enough; an end before that fails the test at once."""
    found = b""
    while not enough(found):
        more = connection.recv(65_536)
        assert more, f"the connection ended after {found[-200:]!r}"
        found += more
    return found
