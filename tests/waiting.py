"""Waiting for what happens soon."""

from __future__ import annotations

import time
from collections.abc import Callable


def until(true: Callable[[], object], seconds: float = 20) -> None:
    """Wait until a function says so."""
    deadline = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < deadline, f"it did not happen in {seconds:g} s"
        time.sleep(0.02)
