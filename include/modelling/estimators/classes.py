"""What a scikit-learn estimator answers, and a graph made from it, as a task's answers."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from formats.task import Task
from include.modelling.estimators.graph import Graph
from include.modelling.inputs import Matrix
from include.modelling.tasks.learning_task import LearningTask

Ask = Callable[[Any, Matrix], Any]

ASKED: Mapping[Task, Ask] = {
    Task.BINARY: lambda learner, matrix: learner.predict_proba(matrix)[:, 1],
    Task.MULTICLASS: lambda learner, matrix: learner.predict_proba(matrix),
    Task.REGRESSION: lambda learner, matrix: learner.predict(matrix).reshape(-1),
}


class Classes:
    """A task's classes; one that an estimator has not seen has the probability 0."""

    def __init__(self, task: LearningTask) -> None:
        self._ask = ASKED[task.name]
        self._count = len(task.classes)
        self.shape = (self._count,) if task.classes else ()

    def predicted(self, learner: Any, matrix: Matrix) -> Matrix:
        """A number, the probability of 1, or the probability of each class, for each row."""
        return self.placed(np.asarray(self._ask(learner, matrix), np.float64), learner)

    def placed(self, found: Matrix, learner: Any) -> Matrix:
        """Answers with a column for each class; of two classes that were seen, `found` may tell the second only."""
        if not self.shape:
            return found
        if found.ndim == 1:
            found = np.column_stack([1.0 - found, found])
        placed: Matrix = found @ self.places(learner)
        return placed

    def widened(self, graph: Graph, answer: str, learner: Any, *, several: bool = True) -> str:
        """The same of a graph's answer."""
        if not self.shape:
            return answer
        if not several:
            second = graph.node("Reshape", answer, graph.constant(np.array([-1, 1])))
            first = graph.node("Sub", graph.constant(1.0), second)
            answer = graph.node("Concat", first, second, axis=1)
        return graph.node("MatMul", answer, graph.constant(self.places(learner)))

    def places(self, learner: Any) -> Matrix:
        """A row for each class seen: a one at its place, and zeros."""
        places: Matrix = np.eye(self._count)[np.asarray(learner.classes_).astype(np.int64)]
        return places
