"""How a step is stopped: by an exception in its work, and by force if a library swallows that."""

from __future__ import annotations

import logging
import os
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from include.errors import ExitCode, StepError

log = logging.getLogger("nightshift")

PATIENCE_SECONDS = 20.0
"""How long a call may take before the log says what is waited for."""

SECONDS = 5.0
"""How long a step has to end after a stop signal; a pod is killed `GRACE` (plugins/pod_spec.py) after that."""


class Stop:
    """SIGTERM raises an error where the step is; `SECONDS` later the process ends, whatever it is doing.

    The watch is a thread that hears of the signal by a pipe: it also ends a step that is inside a library's own call
    and runs no Python code.
    """

    def __init__(self, last_words: Callable[[str], None]) -> None:
        self.error: StepError | None = None
        self._last_words = last_words  # says how the process ended, where nothing else can say it any more
        self._working = False

    def listen(self) -> None:
        """Handle SIGTERM from now on, in the main thread of a process."""
        global _of_this_process  # noqa: PLW0603 (as there is one SIGTERM for a process)
        _of_this_process = self
        heard, told = os.pipe()
        os.set_blocking(told, False)
        signal.signal(signal.SIGTERM, self._raise)
        signal.set_wakeup_fd(told, warn_on_full_buffer=False)
        threading.Thread(target=self._watch, args=(heard,), name="stop", daemon=True).start()

    def work_begins(self) -> None:
        """From now on a stop is raised in the work; an earlier one is raised here."""
        self._working = True
        if self.error is not None:
            raise self.error

    def work_is_over(self) -> None:
        """From now on a stop interrupts nothing: only the report of the work is left."""
        self._working = False

    def _raise(self, signum: int, _frame: object) -> None:
        if self.error is None:
            self.error = StepError(f"stopped by signal {signum}; nothing half-made was published")
            if self._working:
                raise self.error

    def _watch(self, heard: int) -> None:
        while os.read(heard, 1)[0] != signal.SIGTERM:
            pass
        threading.Event().wait(SECONDS)
        self.end(
            f"stopped by signal {signal.SIGTERM.value}, and by force as it went on for {SECONDS:g} s; "
            "nothing half-made was published"
        )

    def end(self, line: str) -> None:
        """End the process by force, as a fault with this line."""
        self._last_words(line)
        os._exit(ExitCode.FAULT)


_of_this_process: Stop | None = None


@contextmanager
def within(seconds: float, what: str) -> Iterator[None]:
    """Bound a block in which a library may wait for ever, and cannot be interrupted.

    `what` describes the problem, such as `MLflow does not answer`: a warning after a while, and after `seconds`
    the line with which a step's process ends as a fault. Outside of a step it only warns.
    """
    done = threading.Event()

    def watch() -> None:
        if done.wait(min(PATIENCE_SECONDS, seconds)):
            return
        log.warning("%s since %g s", what, min(PATIENCE_SECONDS, seconds))
        if not done.wait(max(seconds - PATIENCE_SECONDS, 0)):
            line = f"{what} since {seconds:g} s; see what holds it up, then run the step again"
            log.error(line) if _of_this_process is None else _of_this_process.end(line)

    threading.Thread(target=watch, name="within", daemon=True).start()
    try:
        yield
    finally:
        done.set()
