"""A logistic regression over scaled numbers and one-hot categories, for two classes or more."""

from __future__ import annotations

from typing import Any

import numpy as np
from onnx import TensorProto

from formats.portable_model import InputKind
from formats.task import Task
from include.errors import CodeError
from include.modelling.estimators.classes import Classes
from include.modelling.estimators.estimator import LearningProblem
from include.modelling.estimators.graph import FEATURES, Graph
from include.modelling.inputs import Matrix


class Linear:
    """A missing number counts as its training mean, a missing category as none at all."""

    tolerance = 1e-9

    def __init__(self, problem: LearningProblem, **parameters: Any) -> None:
        from sklearn.linear_model import LogisticRegression

        if problem.task.name is Task.REGRESSION:
            raise CodeError("candidates.py: logistic_regression answers no regression; take hist_gradient_boosting")
        kinds = [wanted.kind for wanted in problem.inputs]
        self._numbers = [place for place, kind in enumerate(kinds) if kind is InputKind.NUMBER]
        self._categories = [place for place, kind in enumerate(kinds) if kind is InputKind.CATEGORY]
        self._sizes = [len(problem.inputs[place].categories) for place in self._categories]
        self._classes = Classes(problem.task)
        # With far more rows than weights this solver is exact in a few steps; others stop too early.
        self.learner = LogisticRegression(solver="newton-cholesky", random_state=problem.seed, **parameters)

    def fit(self, matrix: Matrix, labels: Matrix) -> None:
        """Find the weights."""
        from threadpoolctl import threadpool_limits

        self._mean, self._scale = _moments(matrix[:, self._numbers])
        # One thread: a small problem, and sums in the same order on any number of cores.
        with threadpool_limits(1, user_api="blas"):
            self.learner.fit(self._blocks(matrix), labels)
        single = len(self.learner.intercept_) == 1
        self._intercept = float(self.learner.intercept_[0]) if single else self.learner.intercept_
        weights = self.learner.coef_[0] if single else self.learner.coef_.T
        self._head, *tables = np.split(weights, np.cumsum([len(self._numbers), *self._sizes])[:-1])
        self._tables = [np.concatenate([table, np.zeros((1, *table.shape[1:]))]) for table in tables]

    def predict(self, matrix: Matrix) -> Matrix:
        """One answer a row."""
        from scipy.special import expit, softmax

        score = scaled(matrix[:, self._numbers], self._mean, self._scale) @ self._head + self._intercept
        for place, table in zip(self._categories, self._tables, strict=True):
            score += table[np.nan_to_num(matrix[:, place], nan=len(table) - 1).astype(np.int64)]
        return self._classes.placed(softmax(score, axis=1) if score.ndim > 1 else expit(score), self.learner)

    def to_onnx(self) -> Any:
        """The weights of the numbers as a product, those of each category as a table."""
        graph = Graph()
        several = self._head.ndim > 1
        numbers = graph.node("Gather", FEATURES, graph.constant(np.array(self._numbers, np.int64)), axis=1)
        known = graph.filled(numbers, graph.constant(self._mean))
        # The scale goes into the weights: onnxruntime would fold a division before a product in single precision.
        offset = graph.node("Sub", known, graph.constant(self._mean))
        scale = self._scale[:, np.newaxis] if several else self._scale
        product = graph.node("MatMul", offset, graph.constant(self._head / scale))
        score = graph.node("Add", product, graph.constant(self._intercept))
        for place, table in zip(self._categories, self._tables, strict=True):
            codes = graph.node("Gather", FEATURES, graph.constant(np.int64(place)), axis=1)
            codes = graph.filled(codes, graph.constant(float(len(table) - 1)))
            index = graph.node("Cast", codes, to=TensorProto.INT64)
            weight = graph.node("Gather", graph.constant(table), index, axis=0)
            score = graph.node("Add", score, weight)
        answer = graph.node("Softmax", score, axis=1) if several else graph.node("Sigmoid", score)
        answer = self._classes.widened(graph, answer, self.learner, several=several)
        return graph.finish(answer, len(self._numbers) + len(self._categories), *self._classes.shape)

    def _blocks(self, matrix: Matrix) -> Matrix:
        blocks = [scaled(matrix[:, self._numbers], self._mean, self._scale)]
        blocks += [
            matrix[:, [place]] == np.arange(size) for place, size in zip(self._categories, self._sizes, strict=True)
        ]
        return np.hstack(blocks)


def scaled(numbers: Matrix, mean: Matrix, scale: Matrix) -> Matrix:
    """Numbers in standard deviations from their mean; a missing one is at the mean."""
    standard: Matrix = (numbers - mean) / scale
    np.nan_to_num(standard, copy=False, nan=0.0)
    return standard


def _moments(numbers: Matrix) -> tuple[Matrix, Matrix]:
    known = ~np.isnan(numbers)
    count = np.maximum(known.sum(axis=0), 1)
    mean = np.where(known, numbers, 0.0).sum(axis=0) / count
    spread = np.sqrt((np.where(known, numbers - mean, 0.0) ** 2).sum(axis=0) / count)
    return mean, np.where(spread > 0, spread, 1.0)
