"""Gradient-boosted trees, for every task."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from onnx import numpy_helper

from formats.task import Task
from include.modelling.estimators.classes import Classes
from include.modelling.estimators.estimator import LearningProblem
from include.modelling.estimators.graph import FEATURES, Graph
from include.modelling.inputs import Matrix

LEARNERS = {
    Task.BINARY: "HistGradientBoostingClassifier",
    Task.MULTICLASS: "HistGradientBoostingClassifier",
    Task.REGRESSION: "HistGradientBoostingRegressor",
}
LINKS: Mapping[str, Callable[[Graph, str], str]] = {
    "LogitLink": lambda graph, score: graph.node("Sigmoid", score),
    "MultinomialLogit": lambda graph, score: graph.node("Softmax", score, axis=1),
    "LogLink": lambda graph, score: graph.node("Exp", score),
    "IdentityLink": lambda graph, score: score,
}
"""What scikit-learn's links make of a score."""

_BRANCH_LEQ = 0  # the comparison sklearn's trees make
_SUM = 1


class Trees:
    """Gradient-boosted trees; a category's number is split like any number, NaN has its own branch at every node."""

    tolerance = 1e-9

    def __init__(self, problem: LearningProblem, **parameters: Any) -> None:
        import sklearn.ensemble

        given = {"early_stopping": False, **parameters}
        self.learner = getattr(sklearn.ensemble, LEARNERS[problem.task.name])(random_state=problem.seed, **given)
        self._classes = Classes(problem.task)
        self._width = len(problem.inputs)

    def fit(self, matrix: Matrix, labels: Matrix) -> None:
        """Grow the trees."""
        self.learner.fit(matrix, labels)

    def predict(self, matrix: Matrix) -> Matrix:
        """One answer a row."""
        return self._classes.predicted(self.learner, matrix)

    def to_onnx(self) -> Any:
        """The trees as one node, and the link."""
        graph = Graph()
        attributes, base = tree_ensemble(self.learner)
        total = graph.node("TreeEnsemble", FEATURES, domain="ai.onnx.ml", **attributes)
        score = graph.node("Add", total, graph.constant(base))
        answer = LINKS[type(self.learner._loss.link).__name__](graph, score)
        answer = self._classes.widened(graph, answer, self.learner, several=attributes["n_targets"] > 1)
        return graph.finish(answer, self._width, *self._classes.shape)


def tree_ensemble(learner: Any) -> tuple[dict[str, Any], Any]:
    """The attributes of one `ai.onnx.ml` 5 TreeEnsemble node, and the score every row starts from (one a target)."""
    base = learner._baseline_prediction.ravel()
    table = _TreeTable(len(base))
    roots = [table.add(tree.nodes, target) for trees in learner._predictors for target, tree in enumerate(trees)]
    return table.attributes(roots), float(base[0]) if len(base) == 1 else base


class _TreeTable:
    """All trees as the flat arrays the operator wants: inner nodes and leaves are counted apart."""

    def __init__(self, targets: int) -> None:
        self.targets = targets
        self.inner: list[dict[str, Any]] = []
        self.leaves: list[float] = []
        self.target_of: list[int] = []

    def add(self, nodes: Any, target: int) -> int:
        """Add one tree and return the index of its root; a tree of one leaf becomes a node with that leaf twice."""
        is_leaf = nodes["is_leaf"].astype(bool)
        place = np.where(
            is_leaf,
            len(self.leaves) + np.cumsum(is_leaf) - 1,
            len(self.inner) + np.cumsum(~is_leaf) - 1,
        )
        root = len(self.inner)
        self.leaves += nodes["value"][is_leaf].tolist()
        self.target_of += [target] * int(is_leaf.sum())
        if is_leaf[0]:
            self._branch(0, 0.0, False, (int(place[0]), True), (int(place[0]), True))
        for index in np.flatnonzero(~is_leaf):
            node = nodes[index]
            left, right = ((int(place[node[side]]), bool(is_leaf[node[side]])) for side in ("left", "right"))
            missing_left = bool(node["missing_go_to_left"])
            self._branch(int(node["feature_idx"]), float(node["num_threshold"]), missing_left, left, right)
        return root

    def _branch(
        self, feature: int, split: float, missing_left: bool, left: tuple[int, bool], right: tuple[int, bool]
    ) -> None:
        self.inner.append(
            {
                "featureids": feature,
                "splits": split,
                "missing_value_tracks_true": int(missing_left),
                "truenodeids": left[0],
                "trueleafs": int(left[1]),
                "falsenodeids": right[0],
                "falseleafs": int(right[1]),
            }
        )

    def attributes(self, roots: list[int]) -> dict[str, Any]:
        columns: dict[str, Any] = {f"nodes_{name}": [row[name] for row in self.inner] for name in self.inner[0]}
        splits = numpy_helper.from_array(np.array(columns["nodes_splits"], np.float64), "splits")
        modes = numpy_helper.from_array(np.full(len(self.inner), _BRANCH_LEQ, np.uint8), "modes")
        weights = numpy_helper.from_array(np.array(self.leaves, np.float64), "weights")
        return columns | {
            "nodes_splits": splits,
            "nodes_modes": modes,
            "leaf_weights": weights,
            "leaf_targetids": self.target_of,
            "tree_roots": roots,
            "n_targets": self.targets,
            "aggregate_function": _SUM,
            "post_transform": 0,
        }
