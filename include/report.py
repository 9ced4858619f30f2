"""A step's report in the lake: when it ran, what it took, and its result or error."""

from __future__ import annotations

import json
import logging
import os
import re
import threading
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from include.process import peak_rss_mib, process_start
from include.settings import PREFIX
from include.storage.lake import Lake, to_json
from include.termination import one_line, terminate

RUN = f"{PREFIX}RUN"
"""The variable that names the run, as `dag/run/task`; without it there is no report."""

LAST_WORDS_SECONDS = 2.0
"""How long a stopped process tries to write its report."""

log = logging.getLogger("nightshift")


class Report:
    """The report of this process's step; it is written from the moment that its lake is known."""

    def __init__(self, step: str) -> None:
        self._lake: Lake | None = None
        self._started = process_start()
        self._body: dict[str, Any] = {"step": step, "started": self._started.isoformat(), "state": "running"}

    def begin(self, lake: Lake) -> None:
        """Say in the lake that the step runs."""
        self._lake = lake
        self._write(self._body)

    def done(self, result: str, seconds: float) -> None:
        """Note the result, as JSON, and how long the step's function took."""
        self._body |= {"state": "done", "result": json.loads(result), "function_seconds": round(seconds, 3)}

    def failed(self, message: str) -> None:
        """Note the error."""
        self._body |= {"state": "failed", "error": message}

    def end(self) -> None:
        """Write how it ended; a lake that does not take that is not the step's own error."""
        finished = datetime.now(UTC)
        self._body |= {
            "finished": finished.isoformat(),
            "seconds": round((finished - self._started).total_seconds(), 3),
            "peak_rss_mib": peak_rss_mib(),
        }
        try:
            self._write(self._body)
        except Exception as error:
            log.warning("step report not written: %s", error)

    def last_words(self, message: str) -> None:
        """Report the end of the process while a library holds its thread, and perhaps its streams."""
        message = one_line(message)
        os.write(1, f"{message}\n".encode())
        terminate(message)
        ended = {**self._body, "state": "failed", "error": message, "finished": datetime.now(UTC).isoformat()}
        writer = threading.Thread(target=self._write, args=(ended,), daemon=True)
        writer.start()
        writer.join(LAST_WORDS_SECONDS)  # the lake may be the part that does not answer

    def _write(self, body: Mapping[str, Any]) -> None:
        run = os.environ.get(RUN)
        if run and self._lake is not None:
            self._lake.put(report_name(run), to_json(body))


def report_name(run: str) -> str:
    """The lake object that holds the report of `dag/run/task`."""
    return f"runs/{re.sub(r'[^A-Za-z0-9_./-]', '_', run)}.json"
