"""Loads model files beside the model that answers: a slow store, or a file that never ends, holds nothing up."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Mapping
from random import uniform
from time import monotonic
from typing import Protocol

from formats.portable_model import ModelError, ServingError
from formats.release import InService, without_addresses
from formats.request_rows import RequestModel
from serving.model_file import fetch
from serving.release.kept import Kept
from serving.settings import ServingSettings

RETRY_SECONDS = 0.5
"""How soon what could not be loaded is tried again; the pause doubles each time, up to the next one."""
LONGEST_RETRY_SECONDS = 30.0

log = logging.getLogger("serving")

Load = Callable[[InService], RequestModel]


class Loading(Protocol):
    """Has models ready that are wanted."""

    def want(self, entries: Mapping[str, InService]) -> None:
        """Load these files, by SHA-256, and forget all others."""

    def model(self, sha256: str) -> RequestModel | None:
        """A model that is ready."""

    def error(self, sha256: str) -> str:
        """Why a file is not loaded, empty if nothing is known to be wrong."""

    def refused(self, sha256: str) -> bool:
        """Whether a file can never be served."""


class Attempt:
    """One thread that loads one file; `deadline` is when it counts as failed, though it may run on."""

    def __init__(self, entry: InService, load: Load, deadline: float) -> None:
        self.deadline = deadline
        self.model: RequestModel | None = None
        self.error = ""
        self.refused = False
        self._entry = entry
        self._load = load
        self._thread = threading.Thread(target=self._run, name=f"load {entry.version}", daemon=True)
        self._thread.start()

    @property
    def runs(self) -> bool:
        """Whether it has not ended."""
        return self._thread.is_alive()

    def _run(self) -> None:
        try:
            self.model = self._load(self._entry)
        except ServingError as error:
            self.error, self.refused = str(error), isinstance(error, ModelError)
        except Exception as error:
            log.exception("version %s cannot be loaded", self._entry.version)
            self.error = f"{type(error).__name__}; the server's log has more"


class Loader:
    """Loads each wanted file in a thread of its own, within `seconds`, and tries again after a growing pause.

    A file whose thread still runs after its deadline is not tried again before that thread has ended.
    """

    def __init__(self, load: Load, seconds: float, clock: Callable[[], float] = monotonic) -> None:
        self._load = load
        self._seconds = seconds
        self._clock = clock
        self._models: dict[str, RequestModel] = {}
        self._attempts: dict[str, Attempt] = {}
        self._errors: dict[str, str] = {}
        self._refused: set[str] = set()
        self._again: dict[str, tuple[float, float]] = {}

    def want(self, entries: Mapping[str, InService]) -> None:
        """See `Loading`."""
        for known in (self._models, self._errors, self._again):
            for sha256 in known.keys() - entries.keys():
                del known[sha256]
        self._refused &= entries.keys()
        for sha256 in [one for one, attempt in self._attempts.items() if one not in entries and not attempt.runs]:
            del self._attempts[sha256]
        for sha256, entry in entries.items():
            if sha256 not in self._models:
                self._tend(sha256, entry)

    def model(self, sha256: str) -> RequestModel | None:
        """See `Loading`."""
        return self._models.get(sha256)

    def error(self, sha256: str) -> str:
        """See `Loading`."""
        return self._errors.get(sha256, "")

    def refused(self, sha256: str) -> bool:
        """See `Loading`."""
        return sha256 in self._refused

    def _tend(self, sha256: str, entry: InService) -> None:
        attempt, now = self._attempts.get(sha256), self._clock()
        if attempt is None:
            if now >= self._again.get(sha256, (0.0, 0.0))[0]:
                self._attempts[sha256] = Attempt(entry, self._load, now + self._seconds)
            return
        if attempt.runs:
            if now >= attempt.deadline:
                self._fail(sha256, entry, f"it did not load within {self._seconds:g} s", refused=False)
            return
        del self._attempts[sha256]
        if attempt.model is not None:
            self._models[sha256] = attempt.model
            self._errors.pop(sha256, None)
            return
        self._fail(sha256, entry, attempt.error, refused=attempt.refused)

    def _fail(self, sha256: str, entry: InService, why: str, *, refused: bool) -> None:
        # Without the file's address: everybody may see this.
        line = f"version {entry.version} cannot be loaded: {without_addresses(why, entry.uri)}"
        if self._errors.get(sha256) != line:
            log.warning("version %s cannot be loaded: %s; tried again", entry.version, why)
        self._errors[sha256] = line
        if refused:
            self._refused.add(sha256)
        pause = min(2 * self._again.get(sha256, (0.0, RETRY_SECONDS / 2))[1], LONGEST_RETRY_SECONDS)
        # Replicas that failed together do not try again together.
        self._again[sha256] = (self._clock() + pause * uniform(0.5, 1), pause)  # noqa: S311


def load_from(settings: ServingSettings, kept: Kept) -> Load:
    """How a file is loaded: from the disk or its address, checked and tried on rows of its own."""

    def load(entry: InService) -> RequestModel:
        def fetched() -> bytes:
            return fetch(entry.uri, s3_endpoint=settings.s3_endpoint, limit=settings.model_bytes)

        # Named by its version: later errors may be shown to callers who must not see its address.
        name = f"of version {entry.version}"
        try:
            model = RequestModel.load(kept.content(entry, fetched), sha256=entry.sha256, name=name)
        except ModelError:
            kept.forget(entry)
            model = RequestModel.load(kept.content(entry, fetched), sha256=entry.sha256, name=name)
        model.require_fit(entry.use_case)
        return model

    return load
