"""A landing topic's files: its segments, where each begins, and the log's identity.

The log's identity is one small file of the topic's folder, written once, by the first user. A folder that was
removed and made again, or another folder of the same layout, has another one.
"""

from __future__ import annotations

import errno
import hashlib
import re
import uuid
from collections.abc import Iterable, Mapping
from datetime import datetime
from itertools import pairwise

from include.errors import LakeError
from stores.store import Store

IDENTITY = "_log"
"""The name of the identity's file; tools that read folders of data leave out what begins with an underscore."""
PARTITION = re.compile(r"partition=(0|[1-9][0-9]{0,9})")
START = re.compile(r"[0-9]{1,18}")
PARTITIONS_END = 2**31
DIGITS = 10
READ_ONLY = (errno.EACCES, errno.EPERM, errno.EROFS)

Segments = dict[int, dict[int, str]]
"""The names of a topic's segments, by partition and by first offset, in order of both."""


class TopicFolder:
    """One topic's folder in a store."""

    def __init__(self, store: Store, topic: str) -> None:
        self.store = store
        self.topic = topic
        self.folder = f"topics/{topic}"

    @property
    def where(self) -> str:
        """The folder's address."""
        return self.store.uri(self.folder)

    # Which log it is

    def log_id(self) -> str | None:
        """The log's identity, or None when there is no such topic. A folder with segments and without one gets one.

        A read-only log without an identity is identified by its address.
        """
        if (known := self._read_identity()) is not None:
            return known
        if not self.segments(self.names()):
            return None
        try:
            return self.identify()
        except LakeError as error:
            if _may_not_write(error):
                return self.where
            raise

    def identify(self) -> str:
        """The log's identity; if several make one, the first counts."""
        self.store.create(f"{self.folder}/{IDENTITY}", f"{uuid.uuid4()}\n".encode())
        if (known := self._read_identity()) is None:
            raise FileNotFoundError(f"{self.where}/{IDENTITY}")
        return known

    def _read_identity(self) -> str | None:
        try:
            content = self.store.read(f"{self.folder}/{IDENTITY}")
        except FileNotFoundError:
            return None
        return content.decode().strip() if re.fullmatch(rb"[0-9a-f-]{36}\n", content) else _digest(content)

    # What is in it

    def names(self) -> list[str]:
        """The names of all its files, relative to it."""
        return [name.removeprefix(f"{self.folder}/") for name in self.store.names(self.folder)]

    def segments(self, names: Iterable[str]) -> Segments:
        """The segments among names. If two begin at one offset, the one named like ours counts."""
        found: Segments = {}
        for name in names:
            if place := self.place(name):
                partition, start = place
                of_partition = found.setdefault(partition, {})
                if start not in of_partition or name == self.name(partition, start):
                    of_partition[start] = name
        return {partition: dict(sorted(starts.items())) for partition, starts in sorted(found.items())}

    def of_partition(self, partition: int) -> Mapping[int, str]:
        """One partition's segments."""
        folder = f"{self.folder}/partition={partition}"
        names = (name.removeprefix(f"{self.folder}/") for name in self.store.names(folder))
        return self.segments(names).get(partition, {})

    def strays(self, names: Iterable[str], segments: Segments) -> set[str]:
        """The files that are no segments and do not count."""
        counted = {name for starts in segments.values() for name in starts.values()}
        return set(names) - counted - {IDENTITY}

    def place(self, name: str) -> tuple[int, int] | None:
        """The partition and first offset that a file's name says; None when it is no segment's name."""
        folder, _, file = name.partition("/")
        partition = PARTITION.fullmatch(folder)
        if partition is None or int(partition[1]) >= PARTITIONS_END:
            return None
        stem = f"{self.topic}+{partition[1]}+"
        if not (file.startswith(stem) and file.endswith(".json")):
            return None
        start = START.fullmatch(file.removeprefix(stem).removesuffix(".json"))
        return (int(partition[1]), int(start[0])) if start else None

    def name(self, partition: int, start: int) -> str:
        """A segment's name."""
        return f"partition={partition}/{self.topic}+{partition}+{start:0{DIGITS}d}.json"

    def lines(self, name: str) -> list[bytes]:
        """The lines of a segment."""
        return self.store.read(f"{self.folder}/{name}").removesuffix(b"\n").split(b"\n")

    def create(self, partition: int, start: int, content: bytes) -> bool:
        """Append a segment, or return False if another producer was first. An own earlier attempt counts as success."""
        name = f"{self.folder}/{self.name(partition, start)}"
        return self.store.create(name, content) or self.store.read(name) == content

    def end(self, partition: int) -> int:
        """The offset behind a partition's last line."""
        segments = self.of_partition(partition)
        if not segments:
            return 0
        start = max(segments)
        return start + len(self.lines(segments[start]))

    def expire(self, partition: int, committed: int, before: datetime) -> int:
        """Delete the oldest segments, up to the first that is not committed in whole or not old enough."""
        count = 0
        for (_, name), (following, _) in pairwise(self.of_partition(partition).items()):
            if following > committed or self.store.modified(f"{self.folder}/{name}") >= before:
                break
            self.store.delete(f"{self.folder}/{name}")
            count += 1
        return count


def _digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()[:32]


def _may_not_write(error: LakeError) -> bool:
    cause = error.__cause__
    if isinstance(cause, OSError):
        return cause.errno in READ_ONLY
    return type(cause).__name__ == "PermissionDeniedError"  # obstore's
