"""The baseline of probabilities and numbers: what is known of the past, without learning anything from it."""

from __future__ import annotations

from typing import Any

import numpy as np
from onnx import TensorProto

from formats.task import Task
from include.errors import CodeError
from include.modelling.estimators.estimator import LearningProblem
from include.modelling.estimators.graph import FEATURES, Graph
from include.modelling.inputs import Matrix

BOUNDS = {Task.BINARY: (0.0, 1.0), Task.REGRESSION: (-1e300, 1e300)}


class Rates:
    """The mean of the historical rates that are known for a row; the labels' mean where none is."""

    tolerance = 1e-9
    works = False
    """There is nothing to share in taking a mean."""

    def __init__(self, problem: LearningProblem) -> None:
        if problem.task.name not in BOUNDS:
            raise CodeError(f"candidates.py: historical_rates answers no {problem.task.name} task; take class_shares")
        self._bounds = BOUNDS[problem.task.name]
        self._width = len(problem.inputs)
        self.prior = 0.0

    def fit(self, matrix: Matrix, labels: Matrix) -> None:
        """The labels' mean."""
        self.prior = float(labels.mean())

    def predict(self, matrix: Matrix) -> Matrix:
        """One answer a row."""
        known = ~np.isnan(matrix)
        count = known.sum(axis=1)
        mean = np.where(known, matrix, 0.0).sum(axis=1) / np.maximum(count, 1)
        return np.where(count > 0, np.clip(mean, *self._bounds), self.prior)

    def to_onnx(self) -> Any:
        """The same."""
        graph = Graph()
        axis = graph.constant(np.array([1]))
        one, zero = graph.constant(1.0), graph.constant(0.0)
        missing = graph.node("Cast", graph.node("IsNaN", FEATURES), to=TensorProto.DOUBLE)
        count = graph.node("ReduceSum", graph.node("Sub", one, missing), axis, keepdims=0)
        total = graph.node("ReduceSum", graph.filled(FEATURES, zero), axis, keepdims=0)
        mean = graph.node("Div", total, graph.node("Max", count, one))
        known = {0.0: zero, 1.0: one}
        least, most = (known.get(bound) or graph.constant(bound) for bound in self._bounds)
        bounded = graph.node("Clip", mean, least, most)
        answer = graph.node("Where", graph.node("Equal", count, zero), graph.constant(self.prior), bounded)
        return graph.finish(answer, self._width)
