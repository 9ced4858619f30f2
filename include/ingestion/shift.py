"""A shift: work until a moment, by a clock that nobody can set."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime

Clock = Callable[[], float]


@dataclass(frozen=True)
class Shift:
    """The time left. The wall clock is read once, at the start; if it jumps later, the shift keeps its length."""

    ends: float
    clock: Clock = time.monotonic
    pause: Callable[[float], None] = time.sleep

    @classmethod
    def until(cls, deadline: datetime, now: datetime | None = None) -> Shift:
        """The shift that ends at a moment (with a zone)."""
        return cls(time.monotonic() + (deadline - (now or datetime.now(UTC))).total_seconds())

    @property
    def remaining(self) -> float:
        """Seconds left, 0 when it is over."""
        return max(self.ends - self.clock(), 0.0)

    @property
    def over(self) -> bool:
        """Whether no time is left."""
        return self.remaining == 0.0

    def wait(self, seconds: float) -> None:
        """Pause for that long, or until the shift is over."""
        self.pause(min(seconds, self.remaining))
