"""What is in service: at most one model, remembered across restarts, replaced only by one that works."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime
from pathlib import Path
from threading import Lock
from time import perf_counter

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from serving.errors import ModelError, NotReadyError, OtherUseCaseError, RowError, ServingError
from serving.fetch import fetch
from serving.model import PortableModel
from serving.settings import ServingSettings

CURRENT = "current.json"

Answers = NDArray[np.float64]
Probabilities = Sequence[float] | Answers

log = logging.getLogger("serving")


class Deployment(BaseModel):
    """A wish: this model file, under this version's name, into service."""

    model_config = ConfigDict(frozen=True, extra="forbid", protected_namespaces=())

    model_uri: str = Field(min_length=1)
    sha256: str = Field(pattern=r"^[0-9a-fA-F]{64}$")
    version: str = Field(min_length=1)
    use_case: str = Field(min_length=1)


class InService(BaseModel):
    """What is served, and since when (UTC); the content of `current.json`."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    version: str
    sha256: str
    uri: str
    use_case: str
    since: datetime
    trained_through: date | None = None


@dataclass(frozen=True)
class Served:
    """A model in service; requests hold one while they run, so a swap never mixes two.

    `instead` is the proven version that answers where this one, still on trial, fails.
    """

    entry: InService
    model: PortableModel
    instead: Served | None = None


class Service:
    """Holds the model in service; swaps are one assignment, after everything that can fail."""

    def __init__(self, settings: ServingSettings) -> None:
        self.settings = settings
        self._file = settings.state / CURRENT
        self._lock = Lock()
        self._served: Served | None = None
        self._why_not = "nothing was deployed yet"

    @property
    def served(self) -> Served:
        """What is in service; `NotReadyError` that says why nothing is."""
        if self._served is None:
            raise NotReadyError(f"no model is served: {self._why_not}")
        return self._served

    def pick(self, key: str | bytes) -> Served:
        """What answers a request of that key: of one key, always the same side of a split; `NotReadyError` if none."""
        return self.served

    def observed(
        self, served: Served, probabilities: Probabilities, seconds: float, failed: bool, asked: bytes = b""
    ) -> None:
        """Take note of how `served` answered a request; cheap, never raises.

        `asked` is the JSON body `{"rows": […]}` of a request that was answered: a shadow scores some of them again.
        """

    def answer(
        self, key: str | bytes, ask: Callable[[PortableModel], Answers], asked: bytes = b""
    ) -> tuple[Served, Answers]:
        """What `ask` has of the model picked for `key`, and which it was; observed, and timed.

        When a version on trial fails, the proven one is asked instead, and the caller notices nothing.
        """
        served = self.pick(key)
        while True:
            started = perf_counter()
            try:
                answers = ask(served.model)
            except RowError:  # the caller's mistake, not the version's
                raise
            except Exception:
                self.observed(served, (), perf_counter() - started, True)
                if served.instead is None:
                    raise
                served = served.instead
            else:
                self.observed(served, answers, perf_counter() - started, False, asked)
                return served, answers

    def restore(self) -> None:
        """Serve again what `current.json` names; if that cannot be, stay not ready and say why."""
        try:
            entry = InService.model_validate_json(self._file.read_bytes())
            self._served = Served(entry, self._load(entry.uri, entry.sha256, entry.use_case))
        except FileNotFoundError:
            return
        except (OSError, ValidationError) as error:
            self._why_not = f"{self._file} cannot be read ({type(error).__name__}); deploy again"
        except ServingError as error:
            self._why_not = f"version {entry.version} cannot be loaded again: {error}"
        if self._served is None:
            log.warning("not ready: %s", self._why_not)

    def deploy(self, wish: Deployment) -> InService:
        """Put a model into service; on any error what was served before is served still."""
        with self._lock:
            before = self._served.entry if self._served else None
            if before and before.use_case != wish.use_case:
                raise OtherUseCaseError(
                    f"this server serves use case {before.use_case!r}; start another for {wish.use_case!r} "
                    "(SERVING_PORT, SERVING_STATE)"
                )
            if before and (before.version, before.sha256, before.uri) == (wish.version, wish.sha256, wish.model_uri):
                return before
            model = self._load(wish.model_uri, wish.sha256, wish.use_case)
            entry = InService(
                version=wish.version,
                sha256=model.sha256,
                uri=wish.model_uri,
                use_case=wish.use_case,
                since=datetime.now(UTC),
                trained_through=model.card.trained_through,
            )
            _write(self._file, entry.model_dump_json(indent=1).encode())
            self._served = Served(entry, model)
            log.info("in service: version %s of %s (%s)", entry.version, entry.use_case, entry.uri)
            return entry

    def withdraw(self) -> None:
        """Serve nothing from now on, restarts included."""
        with self._lock:
            self._file.unlink(missing_ok=True)
            self._served, self._why_not = None, "the last model was withdrawn"
            log.info("withdrawn: nothing is in service")

    def _load(self, uri: str, sha256: str, use_case: str) -> PortableModel:
        content = fetch(uri, s3_endpoint=self.settings.s3_endpoint, limit=self.settings.model_bytes)
        model = PortableModel.load(content, sha256=sha256, name=uri)
        if model.card.use_case != use_case:
            raise ModelError(f"model file {uri} is of use case {model.card.use_case!r}, not {use_case!r}")
        model.self_test()
        return model


def _write(path: Path, content: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_suffix(".part")
    with part.open("wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    part.replace(path)
