"""The landing broker: a topic is a folder or bucket of append-only JSON Lines segments.

`topics/<topic>/partition=<p>/<topic>+<p>+<first offset, ten digits>.json` is how Kafka Connect's object sinks name
theirs, so their output can be read as it is. A message is one line; its offset is the segment's first plus the lines
before it. A segment appears whole and never changes.
"""

from __future__ import annotations

import logging
import math
import time
import zlib
from bisect import bisect_right
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from datetime import datetime
from pathlib import PurePosixPath

from include.errors import LakeError
from include.excerpt import printable
from include.ingestion.brokers.broker import BATCH_BYTES, UNKNOWN_END, Bounds, BrokerError, Message, Received, beyond
from include.ingestion.brokers.segments import Segments, TopicFolder
from stores.store import Store

PARTITIONS = 2
SEGMENT_BYTES = 4 << 20
"""A producer cuts its segments here; a reader holds one segment of each partition at a time."""
REMEMBERED_SECONDS = 3600.0
"""A producer that was idle this long looks for the end again: segments beyond the one it knows may be gone."""
NOTE_SECONDS = 1.0
"""How often a group's note of its progress is written."""
LOOK_SECONDS = 0.5
"""How often a reader that has read everything looks for a new segment."""
GAP_SECONDS = 2.0
"""A segment that is missing between others is looked for again for this long: a listing may lag, or lack it once."""
STRAYS_NAMED = 5

log = logging.getLogger("nightshift")


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
        """Delete segments that were written before a moment and that every group has read.

        A group is known by its note; while no group has left one for the topic nothing goes. The last segment of a
        partition stays: it tells where the next one begins.
        """
        folder = TopicFolder(self.store, topic)
        with _reported():
            committed = self._committed(topic, folder.log_id())
            return sum(folder.expire(partition, offset, before) for partition, offset in committed.items())

    def _committed(self, topic: str, log_id: str | None) -> dict[int, int]:
        """By partition, what all groups have committed; a group that has not begun a partition keeps all of it.

        A note about another log of this name, or an unreadable one, keeps everything.
        """
        notes = [
            GroupNote.read(self.store.read(name))
            for name in self.store.names("groups")
            if PurePosixPath(name).name == topic
        ]
        offsets = [note.offsets if note.log_id == log_id else {} for note in notes]
        partitions = set().union(*offsets)
        return {partition: min(each.get(partition, 0) for each in offsets) for partition in partitions}


class GroupNote:
    """How far a group is in a log, as text: the log's identity, then a line `partition offset` for each partition."""

    def __init__(self, log_id: str | None, offsets: Mapping[int, int]) -> None:
        self.log_id = log_id
        self.offsets = dict(offsets)

    @classmethod
    def read(cls, content: bytes) -> GroupNote:
        """The note in these bytes; one of no log when they are none."""
        first, *lines = content.decode("utf-8", "replace").splitlines() or [""]
        try:
            return cls(first, {int(partition): int(offset) for partition, offset in map(str.split, lines)})
        except ValueError:
            return cls(None, {})

    def written(self) -> bytes:
        """The note as bytes."""
        return "".join([f"{self.log_id}\n", *(f"{p} {o}\n" for p, o in sorted(self.offsets.items()))]).encode()


class LandingProducer:
    """Appends segments; if two producers want the same offset, one wins and the other continues behind it."""

    def __init__(self, store: Store, topic: str, partitions: int) -> None:
        self._folder = TopicFolder(store, topic)
        self._partitions = partitions
        self._next: dict[int, int] = {}
        self._sent = time.time()
        self._log_id: str | None = None

    def log_id(self) -> str | None:
        """The topic's present log."""
        with _reported():
            return self._folder.log_id()

    def send(self, messages: Iterable[Message]) -> int:
        """Append messages, segment by segment; returns when they are on the disk or in the bucket."""
        count = 0
        pending: dict[int, list[bytes]] = {}
        size: dict[int, int] = {}
        for message in messages:
            if b"\n" in message.value:
                raise BrokerError("landing: a message may hold no newline")
            partition = zlib.crc32(message.key) % self._partitions
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
        """Nothing to close."""

    def _append(self, partition: int, lines: Sequence[bytes]) -> None:
        content = b"".join(line + b"\n" for line in lines)
        if abs(time.time() - self._sent) > REMEMBERED_SECONDS:
            self._next.clear()
        self._sent = time.time()
        try:
            with _reported():
                self._hold_to_log()
                start = self._next[partition] if partition in self._next else self._folder.end(partition)
                while not self._folder.create(partition, start, content):
                    start = self._folder.end(partition)
        except BrokerError:
            self._next.pop(partition, None)
            raise
        self._next[partition] = start + len(lines)

    def _hold_to_log(self) -> None:
        """Write into the same log as before; a log that is away is not created again."""
        if self._log_id is None:
            self._log_id = self._folder.identify()
            return
        found = self._folder.log_id()
        if found is None:
            raise BrokerError(f"landing: topic {self._folder.topic} is away: nothing is left at {self._folder.where}")
        if found != self._log_id:
            self._log_id = found
            self._next.clear()


class LandingConsumer:
    """Reads every partition of a topic in turn, one segment of each in memory."""

    def __init__(self, store: Store, topic: str, group: str) -> None:
        self.store = store
        self.topic = topic
        self.group = group
        self._folder = TopicFolder(store, topic)
        self._positions: dict[int, int] = {}
        self._open: dict[int, tuple[int, list[bytes]]] = {}
        self._segments: Segments = {}
        self._looked = False
        self._there = False
        self._turn = 0
        self._told: set[str] = set()
        self._log_id: str | None = None
        self._committed: dict[int, int] = {}
        self._noted = -math.inf
        self._since: dict[tuple[int, int], float] = {}  # when a partition's segment was first listed
        self._listed = -math.inf
        self._at_gap: set[int] = set()

    @property
    def where(self) -> str:
        """The topic's address."""
        return self._folder.where

    def log_id(self) -> str | None:
        """The identity of the topic's folder."""
        with _reported():
            return self._folder.log_id()

    def bounds(self) -> Mapping[int, Bounds]:
        """The first and the next offset of every partition."""
        with _reported():
            self._look()
            return {partition: self._bounds(partition) for partition in self._segments}

    def poll(self, limit: int, seconds: float) -> Sequence[Received]:
        """Messages of one partition after another; an empty answer when none came in time.

        Errors of a partition are reported once the others have nothing more.
        """
        deadline = time.monotonic() + seconds
        while True:
            with _reported():
                found = self._read(limit)
                if not found:
                    self._hold_to_end()
            remaining = deadline - time.monotonic()
            if found or remaining <= 0:
                return found
            self._looked = False
            time.sleep(min(LOOK_SECONDS, remaining))

    def caught_up(self) -> bool:
        """Whether an empty answer means the end: every partition was looked through, and none waits at a gap.

        `BrokerError` when the topic is away.
        """
        if not self._there:
            raise BrokerError(f"landing: topic {self.topic} is away: there is nothing at {self.where}")
        return not self._at_gap

    def seek(self, positions: Mapping[int, int]) -> None:
        """Go on at these offsets."""
        if (log_id := self.log_id()) != self._log_id:
            self._log_id = log_id
            self._committed.clear()
        self._positions = dict(positions)
        self._open.clear()
        self._at_gap.clear()
        self._looked = False

    def commit(self, positions: Mapping[int, int]) -> None:
        """Note how far the group is, for an operator of the folder, now or soon; no reader needs it."""
        self._committed |= positions
        if time.monotonic() >= self._noted + NOTE_SECONDS:
            self._note()

    def close(self) -> None:
        """Bring the note up to date."""
        if self._committed:
            with suppress(BrokerError):
                self._note()

    def _note(self) -> None:
        log_id = self.log_id()
        if log_id is None:  # a note would create a folder in place of the one that is away
            raise BrokerError(f"landing: topic {self.topic} is away: there is nothing at {self.where}")
        if log_id != (self._log_id or log_id):
            raise BrokerError(f"landing: topic {self.topic} has become another log")
        note = GroupNote(log_id, self._committed)
        with _reported():
            self.store.replace(f"groups/{self.group}/{self.topic}", note.written())
        self._noted = time.monotonic()

    def _look(self) -> None:
        """List the segments, and report other files once."""
        names = self._folder.names()
        self._segments = self._folder.segments(names)
        self._looked, self._there, self._listed = True, bool(names), time.monotonic()
        listed = [(partition, start) for partition, starts in self._segments.items() for start in starts]
        self._since = {segment: self._since.get(segment, self._listed) for segment in listed}
        strays = sorted(self._folder.strays(names, self._segments) - self._told)
        if strays:
            self._told.update(strays)
            more = f" and {len(strays) - STRAYS_NAMED} more" if len(strays) > STRAYS_NAMED else ""
            named = ", ".join(printable(name) for name in strays[:STRAYS_NAMED])
            log.warning("landing: topic %s: left alone, because they are no segments: %s%s", self.topic, named, more)

    def _hold_to_end(self) -> None:
        """Make sure that nothing was to be read because the log is shorter than it was."""
        if self._there and beyond(
            self._positions, {partition: self._bounds(partition) for partition in self._segments}
        ):
            raise BrokerError(f"landing: topic {self.topic} has become shorter than what was read of it")

    def _tell(self, line: str) -> None:
        """Log a line once."""
        if line not in self._told:
            self._told.add(line)
            log.warning("landing: topic %s: %s", self.topic, line)

    def _read(self, limit: int) -> list[Received]:
        if not self._looked:
            self._look()
        partitions = list(self._segments)
        found: list[Received] = []
        size = 0
        trouble: LakeError | FileNotFoundError | None = None
        for turn in range(len(partitions)):
            partition = partitions[(self._turn + turn) % len(partitions)]
            try:
                while len(found) < limit and size < BATCH_BYTES and (more := self._next(partition, limit - len(found))):
                    found += more
                    size += sum(len(message.value) for message in more)
            except (LakeError, FileNotFoundError) as error:
                trouble = error
        self._turn += 1
        if trouble is not None:
            if not found:
                raise trouble
            self._tell(f"a partition waits, the others go on: {printable(str(trouble))}")
        return found

    def _next(self, partition: int, limit: int) -> list[Received]:
        """Messages from the segment that holds the position, or from the next one."""
        position = self._positions.get(partition, 0)
        for start in self._candidates(partition, position):
            lines = self._lines(partition, start)
            first = max(position - start, 0)
            if chosen := lines[first : first + limit]:
                if start > position > min(self._segments[partition]):
                    if self._may_come_yet(partition, start):
                        self._at_gap.add(partition)
                        return []
                    self._tell(f"partition {partition} has no offsets from {position} to {start - 1}")
                self._at_gap.discard(partition)
                self._positions[partition] = start + first + len(chosen)
                return [Received(partition, start + first + n, line) for n, line in enumerate(chosen)]
        return []

    def _may_come_yet(self, partition: int, start: int) -> bool:
        """Whether what is missing before a segment may only be away: no look long after the first has confirmed it."""
        return self._listed < self._since[partition, start] + GAP_SECONDS

    def _candidates(self, partition: int, position: int) -> list[int]:
        """The starts of the segments to look into: what is begun is read to its end."""
        begun, lines = self._open.get(partition, (0, []))
        if begun <= position < begun + len(lines) and begun in self._segments[partition]:
            return [begun]
        starts = list(self._segments[partition])
        index = max(bisect_right(starts, position) - 1, 0)
        return starts[index : index + 2]

    def _lines(self, partition: int, start: int) -> list[bytes]:
        held = self._open.get(partition)
        if held is None or held[0] != start:
            held = self._open[partition] = (start, self._folder.lines(self._segments[partition][start]))
        return held[1]

    def _bounds(self, partition: int) -> Bounds:
        starts = list(self._segments[partition])
        try:
            return Bounds(starts[0], starts[-1] + len(self._lines(partition, starts[-1])))
        except (LakeError, FileNotFoundError):
            return Bounds(starts[0], UNKNOWN_END)


@contextmanager
def _reported() -> Iterator[None]:
    try:
        yield
    except (LakeError, FileNotFoundError) as error:
        raise BrokerError(f"landing: {printable(str(error))}") from error
