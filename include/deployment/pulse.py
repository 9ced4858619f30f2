"""The pulse of a release under way: while it beats, replicas keep a version on trial."""

from __future__ import annotations

import time
import uuid
from collections.abc import Callable

from formats.release_log import ReleaseLog
from formats.replica_report import Lease

LEASE_SECONDS = 15.0
"""A replica that sees no beat for so long leaves the trial by itself."""
BEATS = 10
"""So often the lease is renewed before it would end."""
LOOK_SECONDS = 0.25
"""Between two looks at the replicas' reports."""


class Pulse:
    """Renews the lease of one conductor whenever it pauses."""

    def __init__(
        self,
        log: ReleaseLog,
        *,
        seconds: float = LEASE_SECONDS,
        look: float = LOOK_SECONDS,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._log = log
        self._seconds = seconds
        self._look = look
        self._clock = clock
        self._sleep = sleep
        self._holder = uuid.uuid4().hex
        self._beats = 0
        self._next = 0.0

    def pause(self) -> None:
        """Beat if it is time to, then wait a moment."""
        self.beat()
        self._sleep(self._look)

    def beat(self, *, now: bool = False) -> None:
        """Renew the lease if a tenth of it has passed, or now."""
        at = self._clock()
        if self._beats and at < self._next and not now:
            return
        self._beats += 1
        self._log.renew(Lease(self._holder, self._beats, self._seconds))
        self._next = at + self._seconds / BEATS

    def other_beats(self) -> bool:
        """Whether another conductor holds the lease: it is renewed while this one looks, for as long as it is good."""
        first = self._log.lease()
        if first is None:
            return False
        until = self._clock() + first.seconds
        while self._clock() < until:
            if self._log.lease() != first:
                return True
            self._sleep(self._look)
        return False
