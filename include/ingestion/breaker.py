"""A circuit breaker: how long to pause after failures, so that a recovery is noticed soon."""

from __future__ import annotations

import random
from dataclasses import dataclass, field
from enum import StrEnum


class BreakerState(StrEnum):
    """Whether calls go through."""

    CLOSED = "closed"
    OPEN = "open"


@dataclass
class Breaker:
    """Counts failures in a row. Pauses double from `shortest` to `longest` seconds, with jitter, so that many callers
    do not come back at once; after `threshold` failures the circuit is open: one call every `longest` seconds tries it.

    `longest` plus one connection attempt bounds how late a return is noticed.
    """

    threshold: int = 5
    shortest: float = 0.1
    longest: float = 1.5
    random: random.Random = field(default_factory=random.Random)
    failures: int = 0
    opened: int = 0

    @property
    def circuit(self) -> BreakerState:
        """Open after too many failures in a row, until one call succeeds."""
        return BreakerState.OPEN if self.failures >= self.threshold else BreakerState.CLOSED

    def failed(self) -> float:
        """Note a failure; returns how many seconds to wait before the next call."""
        self.failures += 1
        if self.failures == self.threshold:
            self.opened += 1
        pause: float = min(self.longest, self.shortest * 2 ** min(self.failures - 1, 16))
        return pause * self.random.uniform(0.5, 1.0)

    def succeeded(self) -> None:
        """Note a success: the circuit is closed."""
        self.failures = 0
