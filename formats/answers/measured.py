"""Answers as two versions are compared."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from formats.portable_model import Found

BINS = 10
"""Of equal width over 0 to 1: fixed, so that workers' counts add up."""


class Measured(NamedTuple):
    """Each row as a point of M figures within 0 to 1 (float64 [N, M]), and its bin."""

    points: Found
    places: NDArray[np.int64]


def by_level(levels: Found) -> Measured:
    """Rows whose only figure is a level within 0 to 1."""
    return Measured(levels[:, np.newaxis], np.minimum((levels * BINS).astype(np.int64), BINS - 1))
