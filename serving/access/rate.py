"""How often each of many may do something."""

from __future__ import annotations

BUCKETS = 100_000
"""Callers whose rate is remembered; beyond that, those that were quiet the longest are forgotten."""


class Rate:
    """Token buckets, one a caller: on average `rate` requests a second, and a burst of those not made before."""

    def __init__(self, rate: float | None, burst_seconds: float) -> None:
        self._rate = rate
        self._burst_seconds = burst_seconds
        self._buckets: dict[str, tuple[float, float]] = {}

    def wait(self, caller: str, now: float, rate: float | None = None) -> float:
        """Count a request at a time in seconds: 0 when it may go on, else the seconds until one may."""
        rate = rate or self._rate
        if rate is None:
            return 0.0
        burst = max(rate * self._burst_seconds, 1.0)
        tokens, before = self._buckets.pop(caller, (burst, now))
        tokens = min(tokens + (now - before) * rate, burst)
        wait = 0.0 if tokens >= 1 else (1 - tokens) / rate
        # Put back at the end: the order of the dictionary is that of the last request.
        self._buckets[caller] = (tokens - 1 if tokens >= 1 else tokens, now)
        if len(self._buckets) > BUCKETS:
            del self._buckets[next(iter(self._buckets))]
        return wait
