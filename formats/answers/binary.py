"""A binary model's answer: the probability of yes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec
import numpy as np

from formats.answers.measured import Measured, by_level
from formats.portable_model import BinaryOutput, Found


class PredictAnswer(msgspec.Struct, frozen=True):
    """One probability a row, in the order asked, and the version that answered."""

    model_version: str
    probabilities: list[float]


class BinaryKind(BinaryOutput):
    """Probabilities, float64 [N]."""

    body = PredictAnswer
    example = PredictAnswer("7", [0.21])

    def told(self, version: str, found: Found) -> PredictAnswer:
        """What serving answers."""
        return PredictAnswer(version, found.tolist())

    def found(self, body: Mapping[str, Any]) -> Found:
        """The answers of a served body."""
        return np.asarray(body.get("probabilities", []), np.float64)

    def levels(self, found: Found) -> Found:
        """The probability."""
        return found

    def measured(self, found: Found, by: object) -> Measured:
        """By the probability."""
        return by_level(found)
