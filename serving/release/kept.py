"""What a replica keeps on its disk: the newest entry and its model files, for a start while the store is away."""

from __future__ import annotations

import logging
from collections.abc import Callable, Collection
from contextlib import suppress
from pathlib import Path
from urllib.parse import quote, unquote

from pydantic import BaseModel, ConfigDict, ValidationError

from formats.release import InService, Release
from stores.file import write_whole

SUFFIX = ".onnx"
ENTRY = "entry.json"
FOLDER = "models"

log = logging.getLogger("serving")


class KeptEntry(BaseModel):
    """An entry and its number."""

    model_config = ConfigDict(frozen=True)

    number: int
    release: Release


class Kept:
    """The files of one use case below the state folder. All workers of a machine may share them.

    A disk that takes nothing costs a warning and no answer.
    """

    def __init__(self, state: Path, use_case: str) -> None:
        self._folder = state / FOLDER / quote(use_case, safe="")

    def entry(self) -> KeptEntry | None:
        """The entry that was read last, None if there is none that can be read."""
        try:
            return KeptEntry.model_validate_json((self._folder / ENTRY).read_bytes())
        except (OSError, ValidationError):
            return None

    def note(self, number: int, release: Release) -> None:
        """Keep an entry, and no other files than its models."""
        content = KeptEntry(number=number, release=release).model_dump_json(exclude_defaults=True).encode()
        self._write(ENTRY, content)
        files = (release.serving, release.prepare, release.trial and release.trial.entry, *release.before[-1:])
        self._drop({file.sha256 for file in files if file})

    def content(self, entry: InService, fetch: Callable[[], bytes]) -> bytes:
        """A model file's bytes, from the disk or by `fetch`; its loader checks the hash."""
        with suppress(OSError):
            return (self._folder / f"{entry.sha256}{SUFFIX}").read_bytes()
        content = fetch()
        self._write(f"{entry.sha256}{SUFFIX}", content)
        return content

    def forget(self, entry: InService) -> None:
        """Remove a file that turned out to be damaged."""
        with suppress(OSError):
            (self._folder / f"{entry.sha256}{SUFFIX}").unlink()

    def _drop(self, wanted: Collection[str]) -> None:
        with suppress(OSError):
            for path in self._folder.glob(f"*{SUFFIX}"):
                if path.stem not in wanted:
                    path.unlink(missing_ok=True)

    def _write(self, name: str, content: bytes) -> None:
        try:
            write_whole(self._folder / name, content, durable=False)
        except OSError as error:
            log.warning("%s cannot be written (%s); see SERVING_STATE", self._folder / name, error.strerror)


def kept_use_cases(state: Path) -> list[str]:
    """The use cases of which something is kept."""
    return sorted(unquote(path.parent.name) for path in (state / FOLDER).glob(f"*/{ENTRY}"))
