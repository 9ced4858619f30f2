"""How a step is stopped: by an exception in the middle of its work, and by force if a library swallows that."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable

from include.errors import ExitCode, StepError

SECONDS = 5.0
"""How long a step has to end after it was told to; a pod is killed `GRACE` (plugins/pod_spec.py) after that."""


class Stop:
    """SIGTERM raises an error where the step is; `SECONDS` later the process ends, whatever it is doing.

    The watch is a thread that hears of the signal by a pipe: it also ends a step that is inside a library's own call
    and runs no Python code.
    """

    def __init__(self, last_words: Callable[[str], None]) -> None:
        self.error: StepError | None = None
        self._last_words = last_words
        self._working = False

    def listen(self) -> None:
        """Take SIGTERM from now on; for the main thread of a process of its own."""
        heard, told = os.pipe()
        os.set_blocking(told, False)
        signal.signal(signal.SIGTERM, self._raise)
        signal.set_wakeup_fd(told, warn_on_full_buffer=False)
        threading.Thread(target=self._watch, args=(heard,), name="stop", daemon=True).start()

    def work_begins(self) -> None:
        """From now on a stop is raised where the work is; one that came before is raised here."""
        self._working = True
        if self.error is not None:
            raise self.error

    def work_is_over(self) -> None:
        """From now on a stop interrupts nothing: what is left is to say how the work ended."""
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
        self._last_words(
            f"stopped by signal {signal.SIGTERM.value}, and by force as it went on for {SECONDS:g} s; "
            "nothing half-made was published"
        )
        os._exit(ExitCode.FAULT)
