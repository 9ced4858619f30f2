"""What one of two versions did, made up for a test."""

from __future__ import annotations

import numpy as np

from formats.answers.measured import by_level
from formats.comparison import Side


def side(*answers: list[float], seconds: float = 0.001, failures: int = 0) -> Side:
    """A version that answered these requests, each of some rows, in that time, and failed that often."""
    found = Side()
    for each in answers:
        found.note(by_level(np.array(each)), seconds)
    for _ in range(failures):
        found.fail()
    return found
