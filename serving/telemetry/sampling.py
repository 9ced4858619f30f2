"""Some of what was asked and answered, kept in the lake for drift and quality.

A segment of samples (formats/sample.py) appears whole, by a rename or one PUT, when it is large or old enough or its
day is over. No request waits here: what cannot be kept is dropped and counted.
"""

from __future__ import annotations

import gzip
import logging
import secrets
import threading
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, date, datetime
from random import random
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from formats.answers.kinds import AnswerKind
from formats.sample import SUFFIX, Sample, day_folder
from serving.errors import FetchError
from stores.store import Store

QUEUE_BYTES = 8 * 2**20
"""Bodies that may wait for the thread, together."""
QUEUE_REQUESTS = 10_000
"""Requests that may wait for the thread."""
HELD_BYTES = 16 * 2**20
"""Lines that may wait for a lake that accepts none; beyond that the newest are dropped."""
TICK_SECONDS = 0.25
RETRY_SECONDS = 5.0
DRAIN_SECONDS = 5.0
PATIENCE_SECONDS = 5.0
"""How long one writing to a bucket is tried."""

log = logging.getLogger("serving")


class RequestRows(msgspec.Struct):
    """A prediction request's body."""

    rows: list[dict[str, Any]]


@dataclass(frozen=True)
class Answered:
    """A request that was picked to be kept."""

    at: datetime
    use_case: str
    version: str
    request_id: str
    body: bytes
    found: NDArray[np.float64]
    kind: AnswerKind


@dataclass(frozen=True)
class Rotation:
    """When a segment is full: bytes of JSON, or seconds since its first line."""

    size: int = 4 * 2**20
    age: float = 60.0


class Segment:
    """Lines of one use case and day, until they are published."""

    def __init__(self, use_case: str, day: date) -> None:
        self.use_case = use_case
        self.day = day
        self.lines: list[bytes] = []
        self.size = 0
        self.rows = 0
        self.born = time.monotonic()

    def add(self, content: bytes, rows: int) -> None:
        """More lines."""
        self.lines.append(content)
        self.size += len(content)
        self.rows += rows

    def full(self, rotation: Rotation) -> bool:
        """Whether it is time to publish it."""
        return self.size >= rotation.size or time.monotonic() - self.born >= rotation.age

    def name(self) -> str:
        """A name that no other segment has, in order of time."""
        now = datetime.now(UTC)
        return f"{day_folder(self.use_case, self.day)}/{now:%H%M%S%f}-{secrets.token_hex(4)}{SUFFIX}"

    def content(self) -> bytes:
        """The lines, compressed."""
        return gzip.compress(b"".join(self.lines), compresslevel=1, mtime=0)


class Sampler:
    """Picks a share of the requests, up to a rate in rows, and brings them into the lake from a thread of its own."""

    def __init__(self, lake: Store, share: float, rows_per_second: float, rotation: Rotation | None = None) -> None:
        self.written = 0
        self.dropped = 0
        """Rows picked that could not be kept: the queue was full, or the lake did not take them."""
        self.skipped = 0
        """Requests picked but not taken because the rate was reached."""
        self._lake = lake
        self._share = share
        self._rate = rows_per_second
        self._rotation = rotation or Rotation()
        self._waiting: deque[Answered] = deque()
        self._put_bytes = 0
        self._taken_bytes = 0
        self._granted = rows_per_second
        self._picked = 0
        self._segments: dict[tuple[str, date], Segment] = {}
        self._retry_at = 0.0
        self._failing = False
        self._ended = threading.Event()
        self._thread: threading.Thread | None = None

    def offer(
        self,
        use_case: str,
        version: str,
        request_id: str,
        body: bytes | Callable[[], bytes],
        found: NDArray[np.float64],
        *,
        kind: AnswerKind,
    ) -> None:
        """Keep an answered request if it is picked; never waits."""
        if random() >= self._share:  # noqa: S311 (a sample, no secret)
            return
        if self._picked >= self._granted:
            self.skipped += 1
            return
        if self._put_bytes - self._taken_bytes > QUEUE_BYTES or len(self._waiting) >= QUEUE_REQUESTS:
            self.dropped += len(found)
            return
        if callable(body):
            body = body()
        self._picked += len(found)
        self._put_bytes += len(body)
        self._waiting.append(Answered(datetime.now(UTC), use_case, version, request_id, body, found, kind))

    def start(self) -> None:
        """Begin to write; before that, samples wait."""
        self._thread = threading.Thread(target=self._run, name="samples", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Publish what waits, within `DRAIN_SECONDS`: a lake that hangs is not waited for."""
        self._ended.set()
        if self._thread is not None:
            self._thread.join(DRAIN_SECONDS)

    def _run(self) -> None:
        while not self._ended.wait(TICK_SECONDS):
            self._granted = min(self._granted + self._rate * TICK_SECONDS, self._picked + self._rate)
            self._take()
            self._publish(everything=False)
        self._take()
        self._publish(everything=True)
        self.dropped += sum(segment.rows for segment in self._segments.values())

    def _take(self) -> None:
        """Put what waits into segments."""
        for _ in range(len(self._waiting)):
            answered = self._waiting.popleft()
            self._taken_bytes += len(answered.body)
            rows = len(answered.found)
            if sum(segment.size for segment in self._segments.values()) > HELD_BYTES:
                self.dropped += rows
                continue
            try:
                lines = _lines(answered)
            except (msgspec.MsgspecError, ValueError):
                self.dropped += rows
                continue
            key = (answered.use_case, answered.at.date())
            segment = self._segments.get(key) or self._segments.setdefault(key, Segment(*key))
            segment.add(lines, rows)

    def _publish(self, *, everything: bool) -> None:
        if not everything and time.monotonic() < self._retry_at:
            return
        for key, segment in list(self._segments.items()):
            if everything or segment.full(self._rotation):
                if not self._put(segment):
                    return
                del self._segments[key]

    def _put(self, segment: Segment) -> bool:
        try:
            self._lake.replace(segment.name(), segment.content())
        except Exception as error:  # any error: the next samples may find the lake working
            self._retry_at = time.monotonic() + RETRY_SECONDS
            if not self._failing:
                log.warning("samples cannot be kept, requests go on: %s", _reason(error))
            self._failing = True
            return False
        if self._failing:
            log.info("samples are kept again")
        self._failing = False
        self.written += segment.rows
        return True


def _reason(error: Exception) -> str:
    return str(error) if isinstance(error, FetchError) else f"{type(error).__name__}; free or repair the lake"


def _lines(answered: Answered) -> bytes:
    inputs = _decode(answered.body).rows
    columns = {_FIELDS.get(name, name): column for name, column in answered.kind.columns(answered.found).items()}
    answers = [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]
    return _encode(
        [
            Sample(answered.at, answered.version, answered.request_id, place, _numbered(row), **answer)
            for place, (row, answer) in enumerate(zip(inputs, answers, strict=True))
        ]
    )


def _numbered(row: dict[str, Any]) -> dict[str, Any]:
    return {name: int(value) if isinstance(value, bool) else value for name, value in row.items()}


_FIELDS = {"class": "class_"}
_encode = msgspec.json.Encoder().encode_lines
_decode = msgspec.json.Decoder(RequestRows).decode
