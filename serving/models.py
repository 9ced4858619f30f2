"""The models that a server answers with: one of each use case, found in the releases folder and followed there."""

from __future__ import annotations

import asyncio
import logging
import math
import secrets
import threading
from collections.abc import Callable
from time import monotonic

from formats.portable_model import ServingError
from formats.release_log import ReleaseLog
from serving.errors import FetchError, NotFoundError, NotReadyError
from serving.release.answering import Answering
from serving.release.follower import Follower
from serving.release.kept import Kept, kept_use_cases
from serving.release.loader import Loader, load_from
from serving.settings import ServingSettings
from serving.telemetry.metrics import ModelState, ReleaseState
from stores.store import Store, open_store

PATIENCE_SECONDS = 5.0
"""How long one reading of the releases is tried."""
FIND_POLLS = 10
"""Polls between two looks for new use cases."""
START_SECONDS = 10.0
"""So long a start waits for the first models: a worker whose port others share must not answer 503 meanwhile."""
START_PAUSE_SECONDS = 0.01
LOOK_SECONDS = 1.0
"""So long a request waits for a look at the releases; then it is answered with what is known."""

log = logging.getLogger("serving")


class Models:
    """Follows the use cases that the settings name, or all that the releases folder has; `found` hears of each."""

    def __init__(
        self,
        settings: ServingSettings,
        found: Callable[[str], None] = lambda _: None,
        clock: Callable[[], float] = monotonic,
    ) -> None:
        self._settings = settings
        self._on_found = found
        self._clock = clock
        self._replica = secrets.token_hex(8)
        self._followers: dict[str, Follower] = {}
        self._only: Answering | None = None
        self._looks: dict[str, tuple[float, asyncio.Task[float]]] = {}
        self._looked = False
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._find_often, name="releases", daemon=True)
        self._store: Store | None = None

    # Requests

    def names(self) -> list[str]:
        """The use cases that are followed, in order."""
        return sorted(self._followers)

    def of(self, use_case: str) -> Answering:
        """What answers for a use case; `NotFoundError` names those that there are."""
        return self.follower(use_case).answering

    def only(self) -> Answering:
        """What answers where there is one use case; `NotFoundError` where there are several."""
        if self._only is not None:
            return self._only
        if not self._followers:
            raise NotReadyError(f"no model is served: {self._why_nothing()}")
        names = ", ".join(self.names())
        raise NotFoundError(f"this server answers for {names}; ask /v1/models/{{use_case}}/predict")

    def follower(self, use_case: str) -> Follower:
        """What follows a use case; `NotFoundError` names those that there are."""
        try:
            return self._followers[use_case]
        except KeyError:
            if not self._followers:
                raise NotReadyError(f"no model is served: {self._why_nothing()}") from None
            # The name is the caller's, so it is not repeated.
            raise NotFoundError(f"there is no model of that name; this server has {', '.join(self.names())}") from None

    def followers(self) -> list[Follower]:
        """All of them, in order of their use cases."""
        return [self._followers[name] for name in self.names()]

    @property
    def looks_first(self) -> bool:
        """Whether a request may have to wait for a look at the releases."""
        return self._settings.stale_seconds is not None

    @property
    def tried(self) -> bool:
        """Whether all that could be served has been tried: before that this replica is not ready."""
        return self._looked and all(follower.tried for follower in self.followers())

    def states(self) -> list[ModelState]:
        """What is in service and what is on trial, for the metrics."""
        return [state for follower in self.followers() for state in follower.answering.states()]

    def releases(self) -> list[ReleaseState]:
        """How the releases are followed, for the metrics."""
        return [ReleaseState(one.answering.use_case, one.number, one.age, bool(one.error)) for one in self.followers()]

    async def look(self, answering: Answering) -> None:
        """Look at the releases before answering, if the last look is older than `SERVING_STALE_SECONDS`.

        Requests share a look, and none waits for long: releases that are away are asked again after that time.
        """
        stale = self._settings.stale_seconds or math.inf
        began, look = self._looks.get(answering.use_case, (-math.inf, None))
        now = self._clock()
        if look is None or (look.done() and now - began > stale):
            age = self._followers[answering.use_case].age
            if age is not None and age <= stale:
                return
            began, look = now, asyncio.create_task(asyncio.to_thread(self._followers[answering.use_case].step))
            self._looks[answering.use_case] = began, look
        if not look.done() and (rest := began + LOOK_SECONDS - now) > 0:
            await asyncio.wait({look}, timeout=rest)

    # Life

    async def start(self) -> None:
        """Follow from now on, and wait a while for what can be served."""
        self._thread.start()
        deadline = self._clock() + START_SECONDS
        while not self.tried and self._clock() < deadline:
            await asyncio.sleep(START_PAUSE_SECONDS)

    async def stop(self) -> None:
        """Stop following."""
        self._stopping.set()
        await asyncio.gather(*(asyncio.to_thread(follower.stop) for follower in self.followers()))

    def _find_often(self) -> None:
        trouble = ""
        while True:
            try:
                self._find()
                trouble = ""
            except ServingError as error:
                if trouble != (trouble := str(error)):
                    log.warning("%s; tried again", trouble)
                for name in kept_use_cases(self._settings.state):
                    self._add(name)
            except Exception:
                log.exception("use cases cannot be looked for")
            self._looked = True
            if self._stopping.wait(self._settings.poll_seconds * (FIND_POLLS if self._followers else 1)):
                return

    def _find(self) -> None:
        for name in self._settings.use_cases or self._released() or kept_use_cases(self._settings.state):
            self._add(name)

    def _released(self) -> list[str]:
        """The use cases that have an entry: a replica with a wrong name leaves its report in a folder, too."""
        folder = self._folder()
        return [name for name in folder.folders("") if name in self._followers or ReleaseLog(folder, name).last()]

    def _add(self, use_case: str) -> None:
        if use_case in self._followers or (self._settings.use_cases and use_case not in self._settings.use_cases):
            return
        kept = Kept(self._settings.state, use_case)
        follower = Follower(
            ReleaseLog(self._folder(), use_case),
            Answering(use_case),
            Loader(load_from(self._settings, kept), self._settings.load_seconds, self._clock),
            kept,
            replica=self._replica,
            poll=self._settings.poll_seconds,
            clock=self._clock,
        )
        self._followers = self._followers | {use_case: follower}
        self._only = follower.answering if len(self._followers) == 1 else None
        self._on_found(use_case)
        follower.start()

    def _folder(self) -> Store:
        if self._store is None:
            self._store = open_store(
                self._settings.releases_folder,
                endpoint=self._settings.s3_endpoint,
                failure=FetchError,
                patience=PATIENCE_SECONDS,
            )
        return self._store

    def _why_nothing(self) -> str:
        return "nothing was deployed yet" if self._looked else "the releases have not been read yet"
