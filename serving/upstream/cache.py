"""Answers by key: refreshed before they expire, loaded once for any number of callers, stale rather than missing."""

from __future__ import annotations

import asyncio
import logging
import random
import time
from collections import OrderedDict, deque
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from statistics import median
from typing import Generic, TypeVar

from formats.portable_model import ServingError
from serving.errors import NotFoundError, NotYetError
from serving.telemetry.metrics import CacheLookup, Telemetry, UpstreamOutcome

V = TypeVar("V")

PAUSE_SECONDS = 1.0
"""Pause before a key whose load failed is loaded again."""
JITTER = 0.2
"""Keys loaded together are not refreshed together: each up to this share early."""
REMEMBERED = 32
"""Loads whose duration is remembered."""

log = logging.getLogger("serving")


@dataclass(frozen=True)
class Terms:
    """How long answers are kept and how many; times in seconds since an answer was asked for.

    After `refresh` an answer that is wanted is asked for again, after `fresh` it is stale, after `keep` it is gone.
    A 404 is believed for `missing`. `entries` are held at most, `loads` are under way at most.
    """

    refresh: float
    fresh: float
    keep: float
    missing: float
    entries: int
    loads: int


@dataclass(frozen=True, slots=True)
class Held(Generic[V]):
    """An answer and its age in seconds; a value of None means that there is none."""

    value: V | None
    age: float
    stale: bool


@dataclass(frozen=True, slots=True)
class Loaded(Generic[V]):
    """What a load found, and how old its oldest part was when the load began, in seconds."""

    value: V
    age: float = 0.0


@dataclass(frozen=True, slots=True)
class _Entry(Generic[V]):
    value: V | None
    since: float
    due: float


@dataclass(frozen=True, slots=True)
class _Load:
    task: asyncio.Task[None]
    began: float


class Cache(Generic[V]):
    """Answers by key, least recently used out first; `load` raises `NotFoundError` where there is none.

    It belongs to one event loop. A load continues when its caller has left.
    """

    def __init__(
        self,
        name: str,
        load: Callable[[str], Awaitable[Loaded[V]]],
        terms: Terms,
        telemetry: Telemetry,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.name = name
        self.terms = terms
        self._load = load
        self._telemetry = telemetry
        self._clock = clock
        self._entries: OrderedDict[str, _Entry[V]] = OrderedDict()
        self._failures: OrderedDict[str, tuple[float, ServingError]] = OrderedDict()
        self._loads: dict[str, _Load] = {}
        self._took: deque[float] = deque(maxlen=REMEMBERED)

    def __len__(self) -> int:
        return len(self._entries)

    @property
    def loading(self) -> int:
        """Loads under way."""
        return len(self._loads)

    def peek(self, key: str) -> Held[V] | None:
        """What is held now; if it is due, a refresh begins."""
        held = self._held(key)
        outcome = CacheLookup.MISS if held is None else CacheLookup.STALE if held.stale else CacheLookup.HIT
        self._telemetry.cache(self.name, outcome, len(self._entries))
        if held is not None and self._clock() >= self._entries[key].due:
            self.refresh(key, urgent=False)
        return held

    async def get(self, key: str, within: float | None = None) -> Held[V]:
        """What is held, or what a load finds within this many seconds; otherwise `NotYetError` or its own error."""
        if held := self.peek(key):
            return held
        if task := self.refresh(key, urgent=True):
            await asyncio.wait({task}, timeout=within)
        if held := self._held(key):
            return held
        raise self._why_not(key)

    def refresh(self, key: str, *, urgent: bool) -> asyncio.Task[None] | None:
        """The load of a key: the one under way, or a new one.

        None shortly after a failure, or while too many are under way. Loads that are not urgent, because there is an
        answer already, leave half of the room to those that are.
        """
        if under_way := self._loads.get(key):
            return under_way.task
        paused_until, _ = self._failures.get(key, (0.0, None))
        room = self.terms.loads if urgent else max(1, self.terms.loads // 2)
        if self._clock() < paused_until or len(self._loads) >= room:
            return None
        task = asyncio.create_task(self._run(key, self._clock()), name=f"{self.name} {key}")
        self._loads[key] = _Load(task, self._clock())
        self._telemetry.loading(self.name, len(self._loads))
        return task

    def remaining(self, key: str, *, at_best: bool = False) -> float | None:
        """Seconds that a load of this key will still take, judging by the last ones; None if there were none."""
        if not self._took:
            return None
        took = min(self._took) if at_best else median(self._took)
        load = self._loads.get(key)
        return max(0.0, took - (self._clock() - load.began if load else 0.0))

    async def stop(self) -> None:
        """Cancel the running loads."""
        tasks = [load.task for load in self._loads.values()]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def _held(self, key: str) -> Held[V] | None:
        entry = self._entries.get(key)
        if entry is None:
            return None
        age = self._clock() - entry.since
        if age >= (self.terms.missing if entry.value is None else self.terms.keep):
            del self._entries[key]
            return None
        self._entries.move_to_end(key)
        return Held(entry.value, age, stale=entry.value is not None and age >= self.terms.fresh)

    async def _run(self, key: str, began: float) -> None:
        try:
            loaded = await self._load(key)
            self._put(key, loaded.value, began - loaded.age, began + self.terms.refresh * _early())
            self._took.append(self._clock() - began)
        except NotFoundError:
            self._put(key, None, began, began + self.terms.missing * _early())
        except ServingError as error:
            self._fail(key, error)
        except Exception as error:
            log.exception("%s: loading failed", self.name)
            self._fail(key, ServingError(f"{self.name}: {type(error).__name__}"))
        finally:
            del self._loads[key]
            self._telemetry.loading(self.name, len(self._loads))

    def _put(self, key: str, value: V | None, since: float, due: float) -> None:
        self._telemetry.loaded(self.name, UpstreamOutcome.OK)
        self._entries[key] = _Entry(value, since, due)
        self._entries.move_to_end(key)
        self._failures.pop(key, None)
        while len(self._entries) > self.terms.entries:
            self._entries.popitem(last=False)

    def _fail(self, key: str, error: ServingError) -> None:
        self._telemetry.loaded(self.name, UpstreamOutcome.ERROR)
        self._failures[key] = (self._clock() + max(PAUSE_SECONDS, error.retry_after or 0), error)
        self._failures.move_to_end(key)
        while len(self._failures) > self.terms.entries:
            self._failures.popitem(last=False)

    def _why_not(self, key: str) -> ServingError:
        if key in self._loads:
            return NotYetError("it is being made", retry_after=max(1, round(self.remaining(key) or 1)))
        if key in self._failures:
            until, error = self._failures[key]
            return NotYetError(str(error), retry_after=max(1, round(until - self._clock())))
        return NotYetError("too many others are being made", retry_after=max(1, round(self.remaining(key) or 1)))


def _early() -> float:
    return 1 - JITTER * random.random()  # noqa: S311 - spreads load, hides nothing
