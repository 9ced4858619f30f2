"""A simulated world for releases: one clock, a store that fails, actors that take turns, are killed and cut off.

Each actor is a greenlet that gives way wherever the real one would wait: at every request to the store and at every
pause. Which one goes on is decided by the clock, and the clock by a seed: a seed is a schedule.
"""

from __future__ import annotations

import heapq
import random
from collections.abc import Callable, Iterator
from itertools import count
from typing import Any

from greenlet import getcurrent, greenlet

from formats.portable_model import ServingError

LATENCY_SECONDS = 0.15


class KilledError(BaseException):
    """An actor was killed by SIGKILL: nothing of it runs any more."""


class AwayError(ServingError):
    """The store does not answer."""


class Actor:
    """Somebody who acts in the world; its clocks are off by seconds."""

    def __init__(self, world: World, name: str, act: Callable[[Actor], None]) -> None:
        self.world = world
        self.name = name
        self.cut_off = False
        self.dead = False
        self.reached_at = world.time
        """When the store last answered it."""
        self._monotonic = world.random.uniform(0, 1e6)
        self._skew = world.random.uniform(-5, 5)
        self._greenlet = greenlet(self._run, world.hub)
        self._act = act
        world.wake(self, 0)

    def clock(self) -> float:
        return self.world.time + self._monotonic

    def now(self) -> float:
        return self.world.time + self._skew + 1.8e9

    def sleep(self, seconds: float) -> None:
        assert getcurrent() is self._greenlet
        self.world.wake(self, seconds)
        self.world.hub.switch()

    def kill(self) -> None:
        """End it wherever it is, as SIGKILL does."""
        self.dead = True

    def go_on(self) -> None:
        if self.dead and not self._greenlet.dead:
            self._greenlet.throw(KilledError)
        elif not self.dead:
            self._greenlet.switch()

    def _run(self) -> None:
        try:
            self._act(self)
        except KilledError:
            pass
        finally:
            self.dead = True


class World:
    """Runs its actors until a time; everything random comes from the seed."""

    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed)
        self.time = 0.0
        self.hub = getcurrent()
        self.blobs: dict[str, bytes] = {}
        self.store_is_away = False
        self.faults = 0.0
        """The share of the store's answers that are lost."""
        self._turns: list[tuple[float, int, Actor]] = []
        self._count = count()

    def wake(self, actor: Actor, seconds: float) -> None:
        heapq.heappush(self._turns, (self.time + seconds, next(self._count), actor))

    def run(self, until: float) -> None:
        while self._turns and self._turns[0][0] <= until:
            self.time, _, actor = heapq.heappop(self._turns)
            actor.go_on()
        self.time = until


class StoreView:
    """The store as one actor sees it: slow, at times away, at times silent after it has written."""

    def __init__(self, actor: Actor) -> None:
        self._actor = actor
        self._world = actor.world

    def read(self, name: str, limit: int | None = None) -> bytes:
        def act() -> bytes:
            if name not in self._world.blobs:
                raise FileNotFoundError(name)
            return self._world.blobs[name]

        return self._ask(act)

    def create(self, name: str, content: bytes) -> bool:
        def act() -> bool:
            if name in self._world.blobs:
                return False
            self._world.blobs[name] = content
            return True

        return self._ask(act)

    def replace(self, name: str, content: bytes) -> None:
        self._ask(lambda: self._world.blobs.__setitem__(name, content))

    def delete(self, name: str) -> None:
        self._ask(lambda: self._world.blobs.pop(name, None))

    def tags(self, prefix: str, after: str = "") -> Iterator[tuple[str, str]]:
        def act() -> list[tuple[str, str]]:
            names = [name for name in sorted(self._world.blobs) if name.startswith(f"{prefix}/")]
            return [(name, "") for name in names if name >= f"{prefix}/{after}"]

        return iter(self._ask(act))

    def _ask(self, act: Callable[[], Any]) -> Any:
        self._wait()
        self._require_reach("refused")
        found = act()
        self._wait()
        self._require_reach("lost")
        self._actor.reached_at = self._world.time
        return found

    def _wait(self) -> None:
        self._actor.sleep(self._world.random.uniform(0, LATENCY_SECONDS))

    def _require_reach(self, how: str) -> None:
        if self._actor.cut_off or self._world.store_is_away or self._world.random.random() < self._world.faults:
            self._actor.sleep(self._world.random.uniform(0, 3))
            raise AwayError(f"the store is away: the request was {how}")
