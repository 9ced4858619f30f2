"""A multiclass model's answer: the probability of each class, and the class that is likeliest."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec
import numpy as np

from formats.answers.measured import Measured
from formats.portable_model import Found, ModelDescription, MulticlassOutput


class ClassAnswer(msgspec.Struct, frozen=True):
    """The likeliest class of each row and the probability of every class, in the order asked."""

    model_version: str
    classes: list[str]
    probabilities: list[dict[str, float]]


class MulticlassKind(MulticlassOutput):
    """Probabilities, float64 [N, classes]."""

    body = ClassAnswer

    def __init__(self, description: ModelDescription) -> None:
        super().__init__(description)
        even = round(1 / len(self.classes), 3)
        self.example = ClassAnswer("7", list(self.classes[:1]), [dict.fromkeys(self.classes, even)])

    def told(self, version: str, found: Found) -> ClassAnswer:
        """What serving answers."""
        columns = self.columns(found)
        return ClassAnswer(version, columns["class"], columns["probabilities"])

    def found(self, body: Mapping[str, Any]) -> Found:
        """The answers of a served body; NaN for a class that it does not name."""
        rows = [[row.get(name, np.nan) for name in self.classes] for row in body.get("probabilities", [])]
        return np.asarray(rows, np.float64).reshape(-1, *self.shape)

    def levels(self, found: Found) -> Found:
        """The probability of the likeliest class."""
        likeliest: Found = found.max(axis=1)
        return likeliest

    def measured(self, found: Found, by: MulticlassKind) -> Measured:
        """By the probability of every class; those that only the other version knows are taken together."""
        points = np.zeros((len(found), len(self.classes) + 1))
        for name, column in zip(by.classes, found.T, strict=True):
            points[:, self.classes.index(name) if name in self.classes else -1] += column
        return Measured(points, points.argmax(axis=1).astype(np.int64))
