"""The kinds of target that a use case learns. DAG files read it: standard library only."""

from __future__ import annotations

from enum import StrEnum


class Task(StrEnum):
    """What a use case predicts of an example: yes or no, one of several classes, or a number."""

    BINARY = "binary"
    MULTICLASS = "multiclass"
    REGRESSION = "regression"
