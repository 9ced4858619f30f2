"""The portable model file: a fitted model as ONNX, which serving and scoring run without its training library.

One input `features` (float64 [N, F], NaN is missing), one output `probability` (float64 [N]). What the inputs mean
is in the file's metadata under `nightshift`, as JSON.
"""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from typing import Any

import numpy as np
from onnx import ModelProto, NodeProto, TensorProto, checker, helper, numpy_helper

from include.errors import StepError
from include.modelling.estimators import Linear, Model, Rates, Trees
from include.modelling.inputs import Input, Matrix
from include.modelling.recipe import Recipe

FEATURES = "features"
PROBABILITY = "probability"
METADATA = "nightshift"
TOLERANCE = 1e-9
"""How far the file's answer may be from the fitted model's, as probability; both sum in float64 in another order."""

_BRANCH_LEQ = 0  # the comparison sklearn's trees make
_SUM = 1
_ROWS_AT_ONCE = 65_536


@dataclass(frozen=True)
class Origin:
    """A model's origin in its file: use case, the examples' key, recipe, and the last day it saw."""

    use_case: str
    key: str
    recipe: Recipe
    trained_through: date

    def metadata(self, inputs: Sequence[Input]) -> str:
        """The canonical JSON in the file."""
        body = {
            "use_case": self.use_case,
            "key": self.key,
            "inputs": [wanted.to_dict() for wanted in inputs],
            "recipe": json.loads(self.recipe.to_json()),
            "trained_through": self.trained_through.isoformat(),
        }
        return json.dumps(body, sort_keys=True)


def write(model: Model, inputs: Sequence[Input], origin: Origin) -> bytes:
    """The model as a portable file; equal models are equal bytes."""
    graph = _Graph()
    if isinstance(model, Trees):
        score = _trees(graph, model)
    elif isinstance(model, Linear):
        score = _linear(graph, model)
    else:
        score = _rates(graph, model)
    proto = graph.finish(score, len(inputs), origin.use_case)
    helper.set_model_props(proto, {METADATA: origin.metadata(inputs)})
    checker.check_model(proto)
    return bytes(proto.SerializeToString(deterministic=True))


def run(content: bytes, matrix: Matrix) -> Matrix:
    """The file's own answers, float64 [rows]; for proving that it equals the model it was written from."""
    # ONNX Runtime 1.29 and later sends what it runs to its maker, unless this is set before it is imported.
    os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")  # other steps want the cores
    session = onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])
    parts = [
        session.run([PROBABILITY], {FEATURES: np.ascontiguousarray(matrix[start : start + _ROWS_AT_ONCE])})[0]
        for start in range(0, max(len(matrix), 1), _ROWS_AT_ONCE)
    ]
    return np.concatenate(parts)


def prove(content: bytes, matrix: Matrix, expected: Matrix) -> None:
    """Raise `StepError` unless the file answers every row as the fitted model did, to `TOLERANCE`."""
    worst = float(np.abs(run(content, matrix) - expected).max(initial=0.0))
    if not worst <= TOLERANCE:
        raise StepError(f"portable file: its answers differ from the fitted model's by {worst:.3g}; nothing published")


class _Graph:
    """Nodes and constants as they are added; every method returns the name of what it made."""

    def __init__(self) -> None:
        self.nodes: list[NodeProto] = []
        self.constants: list[TensorProto] = []

    def constant(self, value: Any) -> str:
        name = f"c{len(self.constants)}"
        self.constants.append(numpy_helper.from_array(np.asarray(value), name))
        return name

    def node(self, kind: str, *inputs: str, domain: str = "", **attributes: Any) -> str:
        name = f"n{len(self.nodes)}"
        self.nodes.append(helper.make_node(kind, list(inputs), [name], name=name, domain=domain, **attributes))
        return name

    def finish(self, answer: str, width: int, use_case: str) -> ModelProto:
        self.nodes.append(helper.make_node("Reshape", [answer, self.constant(np.array([-1]))], [PROBABILITY]))
        graph = helper.make_graph(
            self.nodes,
            use_case,
            [helper.make_tensor_value_info(FEATURES, TensorProto.DOUBLE, ["N", width])],
            [helper.make_tensor_value_info(PROBABILITY, TensorProto.DOUBLE, ["N"])],
            self.constants,
        )
        opsets = [helper.make_opsetid("", 21), helper.make_opsetid("ai.onnx.ml", 5)]
        return helper.make_model(graph, opset_imports=opsets, ir_version=10, producer_name="nightshift")


def _trees(graph: _Graph, model: Trees) -> str:
    attributes, base = tree_ensemble(model)
    total = graph.node("TreeEnsemble", FEATURES, domain="ai.onnx.ml", **attributes)
    return graph.node("Sigmoid", graph.node("Add", total, graph.constant(base)))


def tree_ensemble(model: Trees) -> tuple[dict[str, Any], float]:
    """The attributes of one `ai.onnx.ml` 5 TreeEnsemble node, and the score every row starts from."""
    trees = [tree for (tree,) in model.classifier._predictors]
    table = _TreeTable()
    roots = [table.add(tree.nodes) for tree in trees]
    return table.attributes(roots), float(model.classifier._baseline_prediction.ravel()[0])


class _TreeTable:
    """All trees as the flat arrays the operator wants: inner nodes and leaves are counted apart."""

    def __init__(self) -> None:
        self.inner: list[dict[str, Any]] = []
        self.leaves: list[float] = []

    def add(self, nodes: Any) -> int:
        """Add one tree and return the index of its root; a tree of one leaf becomes a node with that leaf twice."""
        is_leaf = nodes["is_leaf"].astype(bool)
        place = np.where(
            is_leaf,
            len(self.leaves) + np.cumsum(is_leaf) - 1,
            len(self.inner) + np.cumsum(~is_leaf) - 1,
        )
        root = len(self.inner)
        self.leaves += nodes["value"][is_leaf].tolist()
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
            "leaf_targetids": [0] * len(self.leaves),
            "tree_roots": roots,
            "n_targets": 1,
            "aggregate_function": _SUM,
            "post_transform": 0,
        }


def _linear(graph: _Graph, model: Linear) -> str:
    numbers = graph.node("Gather", FEATURES, graph.constant(np.array(model.numbers, np.int64)), axis=1)
    known = _fill(graph, numbers, graph.constant(model.mean))
    # The scale goes into the weights: onnxruntime would fold a division before a product in single precision.
    offset = graph.node("Sub", known, graph.constant(model.mean))
    product = graph.node("MatMul", offset, graph.constant(model.weights / model.scale))
    score = graph.node("Add", product, graph.constant(model.intercept))
    for position, table in zip(model.categories, model.tables, strict=True):
        codes = graph.node("Gather", FEATURES, graph.constant(np.int64(position)), axis=1)
        codes = _fill(graph, codes, graph.constant(float(len(table))))
        index = graph.node("Cast", codes, to=TensorProto.INT64)
        weight = graph.node("Gather", graph.constant(np.append(table, 0.0)), index, axis=0)
        score = graph.node("Add", score, weight)
    return graph.node("Sigmoid", score)


def _rates(graph: _Graph, model: Rates) -> str:
    axis = graph.constant(np.array([1]))
    one, zero = graph.constant(1.0), graph.constant(0.0)
    missing = graph.node("Cast", graph.node("IsNaN", FEATURES), to=TensorProto.DOUBLE)
    count = graph.node("ReduceSum", graph.node("Sub", one, missing), axis, keepdims=0)
    total = graph.node("ReduceSum", _fill(graph, FEATURES, zero), axis, keepdims=0)
    mean = graph.node("Div", total, graph.node("Max", count, one))
    bounded = graph.node("Clip", mean, zero, one)
    return graph.node("Where", graph.node("Equal", count, zero), graph.constant(model.prior), bounded)


def _fill(graph: _Graph, values: str, instead: str) -> str:
    return graph.node("Where", graph.node("IsNaN", values), instead, values)
