"""What a step reports to its runner: one short text, at the path that Kubernetes reads."""

from __future__ import annotations

import logging
import os
import re
from pathlib import Path

from include.excerpt import printable
from include.masking import masked

log = logging.getLogger("nightshift")

TERMINATION_LOG = "NIGHTSHIFT_TERMINATION_LOG"
RESULT_BYTES = 4096  # what Kubernetes keeps of a termination message


def one_line(text: str) -> str:
    """Text as one printable line that fits a termination message, its secrets masked."""
    line = printable(re.sub(r"\s+", " ", masked(text)).strip())
    return line.encode(errors="backslashreplace")[:RESULT_BYTES].decode(errors="ignore")


def terminate(message: str) -> None:
    """Leave the message where Kubernetes looks for it."""
    # Kubernetes makes this file before the container starts; without it no message is wanted.
    path = Path(os.environ.get(TERMINATION_LOG, "/dev/termination-log"))
    if TERMINATION_LOG in os.environ or path.exists():
        try:
            path.write_text(message, encoding="utf-8")
        except OSError as error:
            log.warning("termination message not written: %s", error)
