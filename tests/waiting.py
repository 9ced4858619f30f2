"""Waiting for what happens soon, and reading what a peer sends."""

from __future__ import annotations

import socket
import time
from collections.abc import Callable


def until(true: Callable[[], object], seconds: float = 20) -> None:
    """Wait until a function says so."""
    deadline = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < deadline, f"it did not happen in {seconds:g} s"
        time.sleep(0.02)


def received(connection: socket.socket, enough: Callable[[bytes], object]) -> bytes:
    """What a connection brings until it is enough; an end before that fails the test at once."""
    found = b""
    while not enough(found):
        more = connection.recv(65_536)
        assert more, f"the connection ended after {found[-200:]!r}"
        found += more
    return found
