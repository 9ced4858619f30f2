"""A folder as a store."""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path
from stat import S_ISDIR
from urllib.parse import quote

from stores.file import PART, drop, sync, write_aside, write_whole
from stores.store import Failure, StoreError, TooLargeError

LEFTOVER_SECONDS = 86_400
"""No writer takes this long: an unfinished file this old belongs to one that was killed."""


class FileStore:
    """A folder. A blob appears by rename (or by hard link, where it must be the first), after it is on the disk."""

    def __init__(self, root: Path, failure: Failure = StoreError) -> None:
        self.root = root
        self._failure = failure
        self._seen = _identity(root)

    def read(self, name: str, limit: int | None = None) -> bytes:
        with self._reported("read", name) as path, path.open("rb") as file:
            content = file.read(-1 if limit is None else limit + 1)
        if limit is not None and len(content) > limit:
            raise TooLargeError(f"{path}: more than {limit} bytes")
        return content

    def exists(self, name: str) -> bool:
        with self._reported("read", name) as path:
            if path.is_file():
                return True
            self._require_same_folder()
            return False

    def replace(self, name: str, content: bytes | Path) -> None:
        with self._written(name) as path:
            write_whole(path, content)
            sync(path.parent)

    def create(self, name: str, content: bytes) -> bool:
        with self._written(name) as path:
            if path.exists():
                return False
            part = write_aside(path, content)
            try:
                path.hardlink_to(part)
            except FileExistsError:
                return False
            finally:
                drop(part)
            sync(path.parent)
            return True

    def names(self, prefix: str) -> Iterator[str]:
        return self._below(prefix, "")

    def tags(self, prefix: str, after: str = "") -> Iterator[tuple[str, str]]:
        for name in self._below(prefix, after):
            with suppress(FileNotFoundError):  # it was there a moment ago
                found = (self.root / name).stat()
                yield name, f"{found.st_mtime_ns}-{found.st_ino}-{found.st_size}"

    def folders(self, prefix: str) -> list[str]:
        with self._reported("list", prefix) as top:
            if top.is_dir():
                return sorted(child.name for child in top.iterdir() if child.is_dir())
            self._require_same_folder()
            return []

    def modified(self, name: str) -> datetime:
        with self._reported("read", name) as path:
            return datetime.fromtimestamp(path.stat().st_mtime, UTC)

    def size(self, name: str) -> int:
        with self._reported("read", name) as path:
            return path.stat().st_size

    def delete(self, name: str) -> None:
        with self._reported("delete", name) as path:
            path.unlink(missing_ok=True)

    def clear(self, prefix: str) -> None:
        shutil.rmtree(self.root / prefix, ignore_errors=True)

    def sweep(self, prefix: str) -> None:
        oldest = time.time() - LEFTOVER_SECONDS
        for folder, _, files in os.walk(self.root / prefix):
            for part in [Path(folder, file) for file in files if file.startswith(PART)]:
                with suppress(OSError):  # it may be gone, or not be ours to remove
                    if part.stat().st_mtime < oldest:
                        part.unlink()

    def uri(self, name: str) -> str:
        return f"file://{quote(str(self.root / name), safe='/=')}"

    def _below(self, prefix: str, after: str) -> Iterator[str]:
        with self._reported("list", prefix) as top:
            if not top.is_dir():
                self._require_same_folder()
                return
            for folder, folders, files in os.walk(top, onerror=_raise):
                first = after if Path(folder) == top else ""
                folders[:] = sorted(name for name in folders if name >= first)
                for file in sorted(files):
                    if file >= first and not file.startswith(PART):
                        yield (Path(folder) / file).relative_to(self.root).as_posix()

    @contextmanager
    def _written(self, name: str) -> Iterator[Path]:
        with self._reported("write", name) as path:
            self._require_same_folder()
            yield path
            self._seen = self._seen or _identity(self.root)

    @contextmanager
    def _reported(self, act: str, name: str) -> Iterator[Path]:
        """A blob's path. An error of the operating system becomes one line that names it."""
        path = self.root / name
        try:
            yield path
        except FileNotFoundError:
            self._require_same_folder()
            raise
        except OSError as error:
            said = f"cannot {act} {path}: {error.strerror or error}; free or repair it, then try again"
            raise self._failure(said) from error

    def _require_same_folder(self) -> None:
        """Refuse the place where the folder was while its mount is away: missing files are then not missing,
        and what is written would be hidden when the mount is back."""
        seen, present = self._seen, _identity(self.root)  # in this order: another thread may make it just now
        if seen is not None and present != seen and (present is None or not any(self.root.iterdir())):
            gone = "gone" if present is None else "empty now"
            raise self._failure(f"{self.root} was there and is {gone}; bring its mount back, then try again")
        self._seen = present or self._seen


def _identity(folder: Path) -> tuple[int, int] | None:
    try:
        found = folder.stat()
    except OSError:
        return None
    return (found.st_dev, found.st_ino) if S_ISDIR(found.st_mode) else None


def _raise(error: OSError) -> None:
    raise error
