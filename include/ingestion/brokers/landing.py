"""The landing broker: a topic is a folder or bucket of append-only JSON Lines segments.

`topics/<topic>/partition=<p>/<topic>+<p>+<first offset, ten digits>.json` is how Kafka Connect's object sinks name
theirs, so their output can be read as it is. A message is one line; its offset is the segment's first plus the lines
before it. A segment appears whole and never changes.
"""

from __future__ import annotations

import math
import time
import zlib
from bisect import bisect_right
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from datetime import datetime
from itertools import pairwise
from pathlib import PurePosixPath

from include.errors import LakeError, SettingsError
from include.ingestion.brokers.broker import BrokerError, Message, Received
from include.storage.store import Store

PARTITIONS = 2
SEGMENT_BYTES = 4 << 20
"""A producer cuts its segments here; a reader holds one segment of each partition at a time."""
REMEMBERED_SECONDS = 3600.0
"""A producer that was idle for so long looks for the end anew: segments beyond the one it knows may be gone by now."""
NOTE_SECONDS = 1.0
"""How often a group's note of how far it is is written."""
LOOK_SECONDS = 0.5
"""How often a reader that has read everything looks for a new segment."""


class LandingBroker:
    """Topics under one store."""

    def __init__(self, store: Store, partitions: int = PARTITIONS) -> None:
        self.store = store
        self.partitions = partitions

    def producer(self, topic: str) -> LandingProducer:
        """A producer of a topic; several may write one topic at once."""
        return LandingProducer(self.store, topic, self.partitions)

    def consumer(self, topic: str, group: str) -> LandingConsumer:
        """A reader of a whole topic: members of a group do not share it out, the tables' offsets fence them."""
        return LandingConsumer(self.store, topic, group)

    def expire(self, topic: str, before: datetime) -> int:
        """Delete segments that were written before a moment and that every group has left behind.

        A group is known by its note; while no group has left one for the topic nothing goes. The last segment of a
        partition stays: it tells where the next one begins.
        """
        try:
            committed = self._committed(topic)
            return sum(
                Segments(self.store, topic, partition).expire(offset, before) for partition, offset in committed.items()
            )
        except (LakeError, FileNotFoundError) as error:
            raise BrokerError(f"landing: {error}") from error

    def _committed(self, topic: str) -> dict[int, int]:
        """By partition, what all groups have committed; a group that has not begun a partition keeps all of it."""
        notes = [
            {int(partition): int(offset) for partition, offset in map(str.split, note.splitlines())}
            for name in self.store.names("groups")
            if PurePosixPath(name).name == topic
            for note in [self.store.read(name).decode()]
        ]
        partitions = set().union(*notes)
        return {partition: min(note.get(partition, 0) for note in notes) for partition in partitions}


class Segments:
    """The segments of one partition."""

    def __init__(self, store: Store, topic: str, partition: int) -> None:
        self.store = store
        self.folder = f"topics/{topic}/partition={partition}"
        self.stem = f"{topic}+{partition}+"

    def starts(self) -> list[int]:
        """The first offset of every segment, in order."""
        names = (PurePosixPath(name).name for name in self.store.names(self.folder))
        found = (name.removeprefix(self.stem).removesuffix(".json") for name in names if name.startswith(self.stem))
        return sorted(int(start) for start in found if start.isdigit())

    def lines(self, start: int) -> list[bytes]:
        """The lines of a segment."""
        return self.store.read(self._name(start)).removesuffix(b"\n").split(b"\n")

    def create(self, start: int, content: bytes) -> bool:
        """Append a segment, or return False when another was first. One's own earlier try counts as success."""
        name = self._name(start)
        return self.store.create(name, content) or self.store.read(name) == content

    def expire(self, committed: int, before: datetime) -> int:
        """Delete the oldest segments, up to the first that is not committed in whole or not old enough."""
        count = 0
        for start, following in pairwise(self.starts()):
            if following > committed or self.store.modified(self._name(start)) >= before:
                break
            self.store.delete(self._name(start))
            count += 1
        return count

    def _name(self, start: int) -> str:
        return f"{self.folder}/{self.stem}{start:010d}.json"


class LandingProducer:
    """Appends segments; of two producers that reach for the same offset one wins and the other goes behind it."""

    def __init__(self, store: Store, topic: str, partitions: int) -> None:
        self._segments = [Segments(store, topic, number) for number in range(partitions)]
        self._next: dict[int, int] = {}
        self._sent = time.time()

    def send(self, messages: Iterable[Message]) -> int:
        """Append messages, segment by segment; returns when they are on the disk or in the bucket."""
        count = 0
        pending: dict[int, list[bytes]] = {}
        size: dict[int, int] = {}
        for message in messages:
            if b"\n" in message.value:
                raise BrokerError("landing: a message may hold no newline")
            partition = zlib.crc32(message.key) % len(self._segments)
            pending.setdefault(partition, []).append(message.value)
            size[partition] = size.get(partition, 0) + len(message.value) + 1
            count += 1
            if size[partition] >= SEGMENT_BYTES:
                self._append(partition, pending.pop(partition))
                size[partition] = 0
        for partition, lines in pending.items():
            self._append(partition, lines)
        return count

    def close(self) -> None:
        """Nothing is held open."""

    def _append(self, partition: int, lines: Sequence[bytes]) -> None:
        content = b"".join(line + b"\n" for line in lines)
        segments = self._segments[partition]
        if abs(time.time() - self._sent) > REMEMBERED_SECONDS:
            self._next.clear()
        self._sent = time.time()
        try:
            start = self._next[partition] if partition in self._next else _end(segments)
            while not segments.create(start, content):
                start = _end(segments)
        except LakeError as error:
            self._next.pop(partition, None)
            raise BrokerError(f"landing: {error}") from error
        self._next[partition] = start + len(lines)


class LandingConsumer:
    """Reads every partition of a topic in turn, one segment of each in memory."""

    def __init__(self, store: Store, topic: str, group: str) -> None:
        self.store = store
        self.topic = topic
        self.group = group
        self._positions: dict[int, int] = {}
        self._open: dict[int, tuple[int, list[bytes]]] = {}
        self._starts: dict[int, list[int]] = {}
        self._turn = 0
        self._committed: dict[int, int] = {}
        self._noted = -math.inf

    def poll(self, limit: int, seconds: float) -> Sequence[Received]:
        """Messages of one partition after another; an empty answer when none came in time."""
        deadline = time.monotonic() + seconds
        while True:
            before = dict(self._positions)
            try:
                found = self._read(limit)
            except (LakeError, FileNotFoundError) as error:
                self._positions = before  # what was read of other partitions is not handed out
                raise BrokerError(f"landing: {error}") from error
            remaining = deadline - time.monotonic()
            if found or remaining <= 0:
                return found
            self._starts.clear()
            time.sleep(min(LOOK_SECONDS, remaining))

    def caught_up(self) -> bool:
        """True: an empty answer is given only after every partition was looked through."""
        if not self._partitions():
            where = self.store.uri(f"topics/{self.topic}")
            raise SettingsError(
                f"landing: there is no topic {self.topic} at {where}; start its collector, or correct NIGHTSHIFT_BROKER"
            )
        return True

    def seek(self, positions: Mapping[int, int]) -> None:
        """Go on at these offsets."""
        self._positions = dict(positions)
        self._open.clear()

    def commit(self, positions: Mapping[int, int]) -> None:
        """Leave a note of how far the group is, for whoever looks after the folder, now or soon; no reader needs it."""
        self._committed |= positions
        if time.monotonic() >= self._noted + NOTE_SECONDS:
            self._note()

    def close(self) -> None:
        """Bring the note up to date."""
        if self._committed:
            with suppress(BrokerError):
                self._note()

    def _note(self) -> None:
        note = "".join(f"{partition} {offset}\n" for partition, offset in sorted(self._committed.items()))
        try:
            self.store.replace(f"groups/{self.group}/{self.topic}", note.encode())
        except LakeError as error:
            raise BrokerError(f"landing: {error}") from error
        self._noted = time.monotonic()

    def _read(self, limit: int) -> list[Received]:
        partitions = self._partitions()
        found: list[Received] = []
        for turn in range(len(partitions)):
            partition = partitions[(self._turn + turn) % len(partitions)]
            while len(found) < limit and (more := self._next(partition, limit - len(found))):
                found += more
        self._turn += 1
        return found

    def _partitions(self) -> list[int]:
        if not self._starts:
            numbers = {
                int(part.removeprefix("partition="))
                for name in self.store.names(f"topics/{self.topic}")
                if (part := PurePosixPath(name).parent.name).startswith("partition=")
            }
            self._starts = {n: Segments(self.store, self.topic, n).starts() for n in sorted(numbers)}
        return list(self._starts)

    def _next(self, partition: int, limit: int) -> list[Received]:
        """Messages from the segment that holds the position, or from the next one."""
        starts = self._starts[partition]
        position = self._positions.get(partition, 0)
        index = max(bisect_right(starts, position) - 1, 0)
        for start in starts[index : index + 2]:
            lines = self._lines(partition, start)
            first = max(position - start, 0)
            if chosen := lines[first : first + limit]:
                self._positions[partition] = start + first + len(chosen)
                return [Received(partition, start + first + n, line) for n, line in enumerate(chosen)]
        return []

    def _lines(self, partition: int, start: int) -> list[bytes]:
        held = self._open.get(partition)
        if held is None or held[0] != start:
            held = self._open[partition] = (start, Segments(self.store, self.topic, partition).lines(start))
        return held[1]


def _end(segments: Segments) -> int:
    starts = segments.starts()
    return starts[-1] + len(segments.lines(starts[-1])) if starts else 0
