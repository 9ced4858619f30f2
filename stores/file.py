"""A file that appears whole: written beside its place, then renamed."""

from __future__ import annotations

import os
import shutil
import uuid
from contextlib import suppress
from pathlib import Path

PART = ".part-"
"""The first letters of an unfinished file's name."""


def write_whole(path: Path, content: bytes | Path, *, durable: bool = True, mode: int = 0o666) -> None:
    """Put a file there in one act, over any older one; its folder is made. A `durable` one is on the disk before."""
    part = write_aside(path, content, durable=durable, mode=mode)
    try:
        part.replace(path)
    except OSError:
        drop(part)
        raise


def write_aside(path: Path, content: bytes | Path, *, durable: bool = True, mode: int = 0o666) -> Path:
    """A new, complete file in the folder of `path`, to be renamed or linked to it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.parent / f"{PART}{uuid.uuid4().hex}"
    try:
        with os.fdopen(os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode), "wb") as out:
            if isinstance(content, bytes):
                out.write(content)
            else:
                with content.open("rb") as source:
                    shutil.copyfileobj(source, out, 1 << 20)
            out.flush()
            if durable:
                os.fsync(out.fileno())
    except BaseException:
        drop(part)
        raise
    return part


def sync(folder: Path) -> None:
    """Bring a folder's entries to the disk."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def drop(part: Path) -> None:
    """Remove an unfinished file, if that can be done: it is swept later, and the first error says more."""
    with suppress(OSError):
        part.unlink()
