"""When a request is answered: at once if it is small, otherwise in its turn."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextvars import copy_context
from typing import TypeVar

from serving.errors import OverloadError
from serving.telemetry.metrics import Shed, Telemetry

T = TypeVar("T")

INLINE_BYTES = 65_536
"""Bodies up to here are answered in the event loop, within about a millisecond; a thread would cost more than that."""


class Turns:
    """Large requests are answered by one thread, in the order they come, and a bounded number waits."""

    def __init__(self, telemetry: Telemetry, queue: int) -> None:
        self._telemetry = telemetry
        self._queue = queue
        self._large = 0
        self._thread = ThreadPoolExecutor(1, "predict")

    async def run(self, size: int, work: Callable[[], T]) -> T:
        """What the work for a body of that many bytes gives; `OverloadError` when too many wait."""
        if size <= INLINE_BYTES:
            return work()
        if self._large > self._queue:
            self._telemetry.shed(Shed.QUEUE_FULL)
            raise OverloadError("too many large predictions wait; try again")
        self._large += 1
        self._telemetry.queue(self._large - 1)
        try:
            # The thread sees the request's context: which trace it is part of.
            return await asyncio.get_running_loop().run_in_executor(self._thread, copy_context().run, work)
        finally:
            self._large -= 1
            self._telemetry.queue(max(self._large - 1, 0))
