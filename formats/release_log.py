"""The releases of one use case, as files below the releases folder: the log, the replicas' reports, the lease.

Only `deploy` and `rollback` write the log and the lease, only servers write `replicas/`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from typing import Protocol

import msgspec
from pydantic import ValidationError

from formats.portable_model import ServingError
from formats.release import Release
from formats.replica_report import Lease, ReplicaReport

LOG = "log"
REPLICAS = "replicas"
LEASE = "lease.json"
ENTRY_BYTES = 4 * 2**20
REPORT_BYTES = 2**20


class Objects(Protocol):
    """What a releases folder must do; every store of ours does."""

    def read(self, name: str, limit: int | None = None) -> bytes:
        """A blob's bytes; `FileNotFoundError` if there is none."""

    def create(self, name: str, content: bytes) -> bool:
        """Put a blob there, or return False if one is there already: of two callers one wins."""

    def replace(self, name: str, content: bytes) -> None:
        """Put a blob there, over any older one."""

    def delete(self, name: str) -> None:
        """Remove a blob if it is there."""

    def tags(self, prefix: str, after: str = "") -> Iterable[tuple[str, str]]:
        """The names below a folder, in order, from `after` on, each with a tag."""


class DamagedError(ServingError):
    """An entry of a log cannot be understood."""


class ReleaseLog:
    """One use case's log, reports and lease in a releases folder; `failure` makes the caller's kind of error."""

    def __init__(self, objects: Objects, use_case: str, failure: Callable[[str], Exception] = DamagedError) -> None:
        self.use_case = use_case
        self._objects = objects
        self._failure = failure

    # The log

    def entry(self, number: int) -> Release | None:
        """Entry `number`, counted from 1; None if it is not there yet. A `failure` if it cannot be read."""
        name = self._entry(number)
        try:
            return Release.model_validate_json(self._objects.read(name, ENTRY_BYTES))
        except FileNotFoundError:
            return None
        except ValidationError as error:
            where = ".".join(str(part) for part in error.errors()[0]["loc"]) or "JSON"
            raise self._failure(f"{name} is damaged ({where}); correct or restore it") from None

    def last(self, known: int = 0) -> int:
        """The number of the newest entry, 0 if there is none; `known` is one that is there, where listing begins."""
        names = [name for name, _ in self._objects.tags(f"{self.use_case}/{LOG}", _file(known) if known else "")]
        return max((number for name in names if (number := _number(name))), default=known)

    def tail(self, known: int = 0) -> tuple[int, Release | None]:
        """The newest entry and its number; (0, None) for a log without any."""
        number = self.last(known)
        release = self.entry(number) if number else None
        while (newer := self.entry(number + 1)) is not None:  # a listing may be late
            number, release = number + 1, newer
        return number, release

    def append(self, number: int, release: Release) -> bool:
        """Make `release` entry `number`; False if another writer did. An attempt whose answer was lost is read back."""
        content = release.model_dump_json(exclude_defaults=True).encode()
        try:
            if self._objects.create(self._entry(number), content):
                return True
        except Exception:
            if not self.holds(number, release):
                raise
            return True
        return self.holds(number, release)

    def holds(self, number: int, release: Release) -> bool:
        """Whether entry `number` is this very one, and no other writer's."""
        found = self.entry(number)
        return found is not None and found.id == release.id

    def overtaken(self, number: int) -> bool:
        """Whether there is an entry after `number`."""
        return self.entry(number + 1) is not None

    def _entry(self, number: int) -> str:
        return f"{self.use_case}/{LOG}/{_file(number)}"

    # The replicas

    def report(self, report: ReplicaReport) -> None:
        """Publish what a replica says."""
        self._objects.replace(self._report(report.replica), _encode(report))

    def reports(self) -> Iterator[ReplicaReport]:
        """What each replica said last; one that is damaged or just gone is left out."""
        for name, _ in list(self._objects.tags(f"{self.use_case}/{REPLICAS}")):
            with suppress(FileNotFoundError, msgspec.DecodeError):
                yield _report(self._objects.read(name, REPORT_BYTES))

    def forget(self, replica: str) -> None:
        """Remove a replica's report."""
        self._objects.delete(self._report(replica))

    def _report(self, replica: str) -> str:
        return f"{self.use_case}/{REPLICAS}/{replica}.json"

    # The lease

    def lease(self) -> Lease | None:
        """The lease as it is now, None if there never was one."""
        try:
            return _lease(self._objects.read(f"{self.use_case}/{LEASE}", REPORT_BYTES))
        except (FileNotFoundError, msgspec.DecodeError):
            return None

    def renew(self, lease: Lease) -> None:
        """Write the lease."""
        self._objects.replace(f"{self.use_case}/{LEASE}", _encode(lease))


def _file(number: int) -> str:
    return f"{number:010d}.json"


def _number(name: str) -> int:
    stem = name.rpartition("/")[2].removesuffix(".json")
    return int(stem) if stem.isdecimal() else 0


_encode = msgspec.json.Encoder().encode
_report = msgspec.json.Decoder(ReplicaReport).decode
_lease = msgspec.json.Decoder(Lease).decode
