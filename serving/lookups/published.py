"""Published batch predictions, held in memory for lookups; new publications are followed, never waited for."""

from __future__ import annotations

import hashlib
import logging
import sys
import threading
import time
from collections.abc import Callable, Mapping
from datetime import date, timedelta
from pathlib import PurePosixPath
from typing import Any, cast

import msgspec

from formats.lookup import FOLDER, Columns, LookupFile
from formats.manifest import MANIFEST, Manifest
from formats.partition import day_folder, day_of
from formats.portable_model import ServingError
from serving.errors import FetchError, NotFoundError, NotYetError
from serving.lookups.shape import Row, Shape
from serving.lookups.snapshot import Part, Snapshot
from serving.settings import ServingSettings
from stores.store import Store, open_store

INTRADAY = "intraday"
HORIZON = "horizon"
AS_OF = "as_of"
OLD_DAY = "date="
"""How older releases began the name of a day's folder."""
MANIFEST_BYTES = 2**20
LOOKUP_BYTES = 64 * 2**20
"""A day of 1,000 predictions has 150 kB."""
OUTDATED_SECONDS = 60
"""Published predictions are stale when the lake could not be read for this long, and for at least six polls."""
PATIENCE_SECONDS = 30.0
"""How long one reading of a bucket is tried."""

log = logging.getLogger("serving")


class Published:
    """What the lake has published of a use case, newest days only; a snapshot is replaced whole, by one assignment."""

    def __init__(
        self,
        settings: ServingSettings,
        use_case: str,
        shape: Shape | None = None,
        *,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.use_case = use_case
        self._settings = settings
        self._shape = shape or Shape()
        self._clock = clock
        self._lake: Store | None = None
        self._parts: dict[str, Part] = {}
        self._since: date | None = None
        self._snapshot: Snapshot | None = None
        self._read_at = clock()
        self._trouble: set[str] = set()
        self._stopped = threading.Event()

    @property
    def snapshot(self) -> Snapshot:
        """What is published; `NotFoundError` without a lake, `NotYetError` before it could be read."""
        if self._snapshot is not None:
            return self._snapshot
        if self._settings.lake is None:
            raise NotFoundError("nothing is published here: SERVING_LAKE is not set")
        raise NotYetError("published predictions could not be read yet; ask again", retry_after=1)

    def newest(self, key: str) -> Any | None:
        """A key's newest prediction, if there is any."""
        found = self._snapshot.predictions.get(key) if self._snapshot else None
        return found[-1] if found else None

    @property
    def outdated(self) -> float | None:
        """Seconds since the lake could last be read; None while all is well."""
        age = self._clock() - self._read_at
        return age if age > max(OUTDATED_SECONDS, 6 * self._settings.published_poll_seconds) else None

    def follow(self) -> None:
        """Follow the lake from now on, without waiting for the first reading."""
        if self._settings.lake is not None:
            # A thread of its own: a lake that hangs must not hold up the process's end.
            threading.Thread(target=self._follow, name=f"published {self.use_case}", daemon=True).start()

    async def stop(self) -> None:
        """Stop following it."""
        self._stopped.set()

    def _follow(self) -> None:
        while not self._stopped.is_set():
            try:
                self.read()
            except Exception as error:
                log.exception("published predictions stay as they are: %s", type(error).__name__)
            self._stopped.wait(self._settings.published_poll_seconds)

    def read(self) -> None:
        """Read what is new. An unreadable partition is logged once, and its earlier content stays."""
        trouble: set[str] = set()
        try:
            if self._lake is None:
                self._lake = open_store(
                    self._settings.lake or "",
                    endpoint=self._settings.s3_endpoint,
                    failure=FetchError,
                    patience=PATIENCE_SECONDS,
                )
            manifests = self._manifests(self._lake)
            if self._parts and not manifests:
                # Days are withdrawn one by one; if all are gone, the disk is missing. The next time, all days count.
                self._since = None
                raise FetchError(f"{self._settings.lake}: all that was published has gone")
            found = self._newest_days(manifests)
            if not found and (old := self._of_an_older_release(self._lake)):
                trouble.add(
                    f"nothing is published here: {old} is of an older release, which named a day {OLD_DAY}…; "
                    "name a new lake for pipeline and server, and the next run fills it"
                )
            parts = {name: self._part(self._lake, name, tag, trouble) for name, tag in found.items()}
        except ServingError as error:
            trouble.add(f"published predictions stay as they are: {error}")
        else:
            self._read_at = self._clock()
            read = {name: part for name, part in parts.items() if part is not None}
            if self._snapshot is None or read != self._parts:
                self._parts = read
                self._snapshot = Snapshot.of(read, self._shape)
                log.info(
                    "published: %d examples of %d days of %s",
                    len(self._snapshot.predictions),
                    len(self._snapshot.days),
                    self.use_case,
                )
        for line in sorted(trouble - self._trouble):
            log.warning("%s", line)
        self._trouble = trouble

    def _manifests(self, lake: Store) -> dict[str, str]:
        top = f"{self.use_case}/{FOLDER}"
        after = day_folder(self._since) if self._since else ""
        # A moment's name is UTC, its day local: one day more is looked at.
        after_moment = f"moment={self._since - timedelta(days=1):%Y%m%d}" if self._since else ""
        found: dict[str, str] = {}
        for name in lake.folders(top):
            if name != INTRADAY:
                found |= _tags(lake, f"{top}/{name}", after)
                continue
            for horizon in lake.folders(f"{top}/{INTRADAY}"):
                found |= _tags(lake, f"{top}/{INTRADAY}/{horizon}", after_moment)
        return found

    def _of_an_older_release(self, lake: Store) -> str:
        """A day's folder as older releases named it, which kept lookups beside predictions at first; empty for none."""
        for layer in (FOLDER, "predictions"):
            top = f"{self.use_case}/{layer}"
            for dataset in lake.folders(top):
                if old := next((name for name in lake.folders(f"{top}/{dataset}") if name.startswith(OLD_DAY)), ""):
                    return f"{top}/{dataset}/{old}"
        return ""

    def _newest_days(self, manifests: Mapping[str, str]) -> dict[str, str]:
        """The manifests of the newest days; from now on older ones are not even listed."""
        by_name = {name: day for name in manifests if (day := _day(name))}
        days = sorted(set(by_name.values()))[-self._settings.published_days :]
        self._since = days[0] if len(days) == self._settings.published_days else None
        return {name: manifests[name] for name, day in by_name.items() if day in days}

    def _part(self, lake: Store, name: str, tag: str, trouble: set[str]) -> Part | None:
        before = self._parts.get(name)
        if before is not None and before.tag == tag:
            return before
        try:
            return _read(lake, name, tag, self._shape)
        except ServingError as error:
            trouble.add(f"{PurePosixPath(name).parent}: {error}")
            return before


def _tags(lake: Store, folder: str, after: str) -> dict[str, str]:
    return {name: tag for name, tag in lake.tags(folder, after) if name.endswith(f"/{MANIFEST}")}


def _read(lake: Store, name: str, tag: str, shape: Shape) -> Part:
    """A partition's lookup; `FetchError` if it does not match its manifest."""
    day = cast(date, _day(name))  # what names no day is not read
    try:
        manifest = msgspec.json.decode(lake.read(name, MANIFEST_BYTES), type=Manifest)
        (file,) = manifest.files
        content = lake.read(f"{PurePosixPath(name).parent}/{file.name}", min(file.size, LOOKUP_BYTES))
        if hashlib.sha256(content).hexdigest() != file.sha256:
            raise FetchError(f"{file.name} is damaged (hash differs); publish it again with --force")
        lookup = msgspec.json.decode(content, type=LookupFile)
        if lacking := {lookup.key, AS_OF, *lookup.groups, lookup.order or lookup.key} - lookup.predictions.keys():
            raise FetchError(f"the lookup's predictions lack {min(lacking)}; publish it again with --force")
        lookup.predictions[HORIZON] = [_horizon(name)] * len(lookup.predictions[lookup.key])
        predictions = _rows(lookup.predictions, shape.prediction)
        tables = {name: _rows(lookup.tables[name], reader) for name, reader in shape.tables.items()}
        return Part(tag, day, lookup.key, lookup.groups, lookup.order, predictions, tables)
    except (msgspec.MsgspecError, ValueError, KeyError) as error:
        raise FetchError(f"the lookup cannot be understood: {error}; publish it again with --force") from None


def _rows(columns: Columns, reader: Callable[[Row], Any]) -> list[Any]:
    # A few texts stand in every row: one copy of each is held.
    held: dict[str, str] = {}
    for values in columns.values():
        values[:] = [held.setdefault(value, value) if isinstance(value, str) else value for value in values]
    return [reader(dict(zip(columns, row, strict=True))) for row in zip(*columns.values(), strict=True)]


def _day(name: str) -> date | None:
    return day_of(name.rpartition("/")[0])


def _horizon(name: str) -> str:
    parts = PurePosixPath(name).parts
    return sys.intern(parts[parts.index(FOLDER) + (2 if INTRADAY in parts else 1)])
