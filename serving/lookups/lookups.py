"""The published predictions of all use cases that a server answers for."""

from __future__ import annotations

from collections.abc import Iterable
from threading import Lock

from serving.errors import NotFoundError
from serving.lookups.published import Published
from serving.settings import ServingSettings


class Lookups:
    """Follows the lake for each use case: for those `given` from the start, for others once they are known."""

    def __init__(self, settings: ServingSettings, given: Iterable[Published] = ()) -> None:
        self._settings = settings
        self._published = {one.use_case: one for one in given}
        self._lock = Lock()

    def of(self, use_case: str) -> Published:
        """What is published of a use case; `NotFoundError` names those that there are."""
        try:
            return self._published[use_case]
        except KeyError:
            there = ", ".join(sorted(self._published)) or "none"
            raise NotFoundError(f"no use case of that name is looked up here; this server has {there}") from None

    def add(self, use_case: str) -> None:
        """Follow what is published of one more use case, from now on."""
        with self._lock:
            if use_case not in self._published:
                found = Published(self._settings, use_case)
                found.follow()
                self._published = self._published | {use_case: found}

    async def start(self) -> None:
        """Follow the lake from now on."""
        for one in self._published.values():
            one.follow()

    async def stop(self) -> None:
        """Stop following it."""
        for one in self._published.values():
            await one.stop()
