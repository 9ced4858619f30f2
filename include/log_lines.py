"""Lines of a log: text from outside can neither begin a new line nor control a terminal."""

from __future__ import annotations

import logging
import re
from typing import Any

from include.excerpt import printable

_CONTROLS = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u200e\u200f\u2028-\u202e\u2066-\u2069]")
"""Everything that moves, colours or reverses text on a terminal, except tabs and line ends."""


class LineFormatter(logging.Formatter):
    """A record's message is one line, whatever is in it; a traceback below it keeps its lines, behind bars."""

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802 - logging's name
        """The message, printable."""
        return printable(super().formatMessage(record))

    def formatException(self, ei: Any) -> str:  # noqa: N802 - logging's name
        """The traceback below the message."""
        return below(super().formatException(ei))


def below(text: str) -> str:
    """Text of several lines, such as a traceback: each begins with a bar, so that none passes for a line of the log."""
    return "\n".join(f"| {line}" for line in text.splitlines())


def without_controls(text: str) -> str:
    """Text that is printed as it is, tracebacks among it, with what would control a terminal escaped."""
    return _CONTROLS.sub(lambda found: printable(found[0]), text)
