"""Which worker processes of a server live: each holds the lock of its own file for as long as it does."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

FOLDER = "workers"


@contextmanager
def enlisted(state: Path) -> Iterator[None]:
    """This process is a worker of the server with that state folder, until the block or the process ends.

    Begin it before reading what is to be served, and accept requests only after that: then whoever changes what is
    served and asks `live` afterwards either sees this worker, or this worker has read the change.
    """
    path = state / FOLDER / str(os.getpid())
    path.parent.mkdir(parents=True, exist_ok=True)
    handle = os.open(path, os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield
    finally:
        path.unlink(missing_ok=True)
        os.close(handle)


def live(state: Path) -> set[int]:
    """The process ids of the workers that live; the kernel frees the lock of one that is killed, however it is."""
    folder = state / FOLDER
    if not folder.is_dir():
        return set()
    return {int(path.name) for path in folder.iterdir() if path.name.isdigit() and _locked(path)}


def _locked(path: Path) -> bool:
    try:
        handle = os.open(path, os.O_RDWR | os.O_CLOEXEC)
    except FileNotFoundError:
        return False
    try:
        fcntl.flock(handle, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    else:
        return False
    finally:
        os.close(handle)
