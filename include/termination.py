"""What a step reports to its runner: one short text, at the path that Kubernetes reads."""

from __future__ import annotations

import re

from include.excerpt import printable
from include.masking import masked

TERMINATION_LOG = "NIGHTSHIFT_TERMINATION_LOG"
RESULT_BYTES = 4096  # what Kubernetes keeps of a termination message


def one_line(text: str) -> str:
    """Text as one printable line that fits a termination message, its secrets masked."""
    line = printable(re.sub(r"\s+", " ", masked(text)).strip())
    return line.encode(errors="backslashreplace")[:RESULT_BYTES].decode(errors="ignore")
