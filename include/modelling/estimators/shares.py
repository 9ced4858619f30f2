"""The baseline of classes: how often each was seen."""

from __future__ import annotations

from typing import Any

import numpy as np

from formats.task import Task
from include.errors import CodeError
from include.modelling.estimators.estimator import LearningProblem
from include.modelling.estimators.graph import FEATURES, Graph
from include.modelling.inputs import Matrix


class Shares:
    """The share of each class among the labels, for every row."""

    tolerance = 1e-9
    works = False

    def __init__(self, problem: LearningProblem) -> None:
        if problem.task.name is not Task.MULTICLASS:
            raise CodeError(f"candidates.py: class_shares answers no {problem.task.name} task; take historical_rates")
        self._classes = len(problem.task.classes)
        self._width = len(problem.inputs)
        self.shares: Matrix = np.empty(0)

    def fit(self, matrix: Matrix, labels: Matrix) -> None:
        """Count the labels."""
        self.shares = np.bincount(labels.astype(np.int64), minlength=self._classes) / len(labels)

    def predict(self, matrix: Matrix) -> Matrix:
        """The same for each row."""
        return np.tile(self.shares, (len(matrix), 1))

    def to_onnx(self) -> Any:
        """The same: zeros of as many rows, and the shares added."""
        graph = Graph()
        axis, zero = graph.constant(np.array([1])), graph.constant(0.0)
        column = graph.node("ReduceSum", graph.filled(FEATURES, zero), axis, keepdims=1)
        shares = graph.node("Add", graph.node("Mul", column, zero), graph.constant(self.shares))
        return graph.finish(shares, self._width, self._classes)
