"""What serving does with the answers of every task, and which task a model is of."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Protocol

import msgspec

from formats.answers.binary import BinaryKind
from formats.answers.measured import Measured
from formats.answers.multiclass import MulticlassKind
from formats.answers.regression import RegressionKind
from formats.portable_model import Found, ModelDescription


class AnswerKind(Protocol):
    """One task's answers; `body` is the type of what serving answers, and `example` one of it."""

    body: Any
    example: Any

    def told(self, version: str, found: Found) -> msgspec.Struct:
        """What serving answers."""

    def found(self, body: Mapping[str, Any]) -> Found:
        """The answers of a served body; none for a body of another kind."""

    def columns(self, found: Found) -> dict[str, list[Any]]:
        """The same as columns of predictions, one value a row."""

    def levels(self, found: Found) -> Found:
        """One figure a row within 0 to 1, for a histogram of what was answered."""

    def measured(self, found: Found, by: Any) -> Measured:
        """Answers of a version of the kind `by`, as this one measures them."""


KINDS: Mapping[str, Callable[[ModelDescription], AnswerKind]] = {
    "binary": BinaryKind,
    "multiclass": MulticlassKind,
    "regression": RegressionKind,
}


def kind_of(description: ModelDescription) -> AnswerKind:
    """What serving makes of the answers of the model of that description."""
    return KINDS[description.task](description)
