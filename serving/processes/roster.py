"""Which worker processes of a server are alive: each holds the lock of its own file while it lives."""

from __future__ import annotations

import fcntl
import os
from pathlib import Path
from types import TracebackType
from typing import Self

FOLDER = "workers"


class Member:
    """This process, as a worker of the server with that state folder, from `join` on until it leaves or ends.

    Join before reading what is to be served, and accept requests only after that: then a process that changes what is
    served and asks `live` afterwards either sees this worker, or this worker has read the change.
    """

    def __init__(self, state: Path) -> None:
        self._path = state / FOLDER / str(os.getpid())
        self._handle: int | None = None

    def join(self) -> bool:
        """Enlist; whether that was needed. `OSError` if the file cannot be written."""
        if self._handle is not None:
            return False
        self._path.parent.mkdir(parents=True, exist_ok=True)
        handle = os.open(self._path, os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600)
        fcntl.flock(handle, fcntl.LOCK_EX)
        self._handle = handle
        return True

    def leave(self) -> None:
        """Leave the roster."""
        if self._handle is not None:
            self._path.unlink(missing_ok=True)
            os.close(self._handle)
            self._handle = None

    def __enter__(self) -> Self:
        self.join()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.leave()


def live(state: Path) -> set[int]:
    """The process ids of the live workers; the kernel frees the lock of a killed one."""
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
