"""A circuit breaker: an upstream that fails repeatedly is left alone for a while."""

from __future__ import annotations

import time
from collections.abc import Callable

THRESHOLD = 5
OPEN_SECONDS = 5.0


class CircuitBreaker:
    """Opens after five failures in a row; then one call in five seconds tries whether the upstream is back."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._failures = 0
        self._next_try = 0.0

    @property
    def open(self) -> bool:
        """Whether the upstream is left alone."""
        return self._failures >= THRESHOLD

    @property
    def wait(self) -> float:
        """Seconds until the next call may go through."""
        return max(0.0, self._next_try - self._clock()) if self.open else 0.0

    def allows(self) -> bool:
        """Whether this call may go through; of an open circuit's callers one is let through each time."""
        if not self.open:
            return True
        if self.wait:
            return False
        self._next_try = self._clock() + OPEN_SECONDS
        return True

    def succeeded(self) -> None:
        """Note an answer: the circuit is closed."""
        self._failures = 0

    def failed(self) -> None:
        """Note a failure."""
        self._failures += 1
        if self._failures == THRESHOLD:
            self._next_try = self._clock() + OPEN_SECONDS
