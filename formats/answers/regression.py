"""A regression model's answer: a number, in the unit of its label."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec
import numpy as np

from formats.answers.measured import Measured, by_level
from formats.portable_model import Found, ModelDescription, RegressionOutput


class NumberAnswer(msgspec.Struct, frozen=True):
    """One number a row, in the order asked, and the version that answered."""

    model_version: str
    predictions: list[float]


class RegressionKind(RegressionOutput):
    """Numbers, float64 [N]; `quantiles` of the labels that the model learned from, at even steps, least first."""

    body = NumberAnswer

    def __init__(self, description: ModelDescription) -> None:
        super().__init__(description)
        self.example = NumberAnswer("7", [float(self.quantiles[len(self.quantiles) // 2])])

    def told(self, version: str, found: Found) -> NumberAnswer:
        """What serving answers."""
        return NumberAnswer(version, found.tolist())

    def found(self, body: Mapping[str, Any]) -> Found:
        """The answers of a served body."""
        return np.asarray(body.get("predictions", []), np.float64)

    def levels(self, found: Found) -> Found:
        """The place of the number among the labels that were learned from: 0 is the least of them, 1 the greatest."""
        return np.interp(found, self.quantiles, np.linspace(0, 1, len(self.quantiles)))

    def measured(self, found: Found, by: object) -> Measured:
        """By the place among the labels that this version learned from."""
        return by_level(self.levels(found))
