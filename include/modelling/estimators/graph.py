"""An ONNX graph as it is built: one input `features`, float64 [N, F], and one output."""

from __future__ import annotations

from typing import Any

import numpy as np
from onnx import ModelProto, NodeProto, TensorProto, helper, numpy_helper

FEATURES, ANSWER = "features", "answer"
OPSET, ML_OPSET, IR = 21, 5, 10


class Graph:
    """Nodes and constants as they are added; every method returns the name of what it made."""

    def __init__(self) -> None:
        self.nodes: list[NodeProto] = []
        self.constants: list[TensorProto] = []

    def constant(self, value: Any) -> str:
        """A constant of the value's own type."""
        name = f"c{len(self.constants)}"
        self.constants.append(numpy_helper.from_array(np.asarray(value), name))
        return name

    def node(self, kind: str, *inputs: str, domain: str = "", **attributes: Any) -> str:
        """One operator."""
        name = f"n{len(self.nodes)}"
        self.nodes.append(helper.make_node(kind, list(inputs), [name], name=name, domain=domain, **attributes))
        return name

    def filled(self, values: str, instead: str) -> str:
        """Values with another one in place of each NaN."""
        return self.node("Where", self.node("IsNaN", values), instead, values)

    def finish(self, answer: str, width: int, *shape: int) -> ModelProto:
        """The model that takes `width` features and gives this answer, float64 [N, *shape]."""
        target = self.constant(np.array([-1, *shape]))
        self.nodes.append(helper.make_node("Reshape", [answer, target], [ANSWER]))
        graph = helper.make_graph(
            self.nodes,
            "model",
            [helper.make_tensor_value_info(FEATURES, TensorProto.DOUBLE, ["N", width])],
            [helper.make_tensor_value_info(ANSWER, TensorProto.DOUBLE, ["N", *shape])],
            self.constants,
        )
        opsets = [helper.make_opsetid("", OPSET), helper.make_opsetid("ai.onnx.ml", ML_OPSET)]
        return helper.make_model(graph, opset_imports=opsets, ir_version=IR, producer_name="nightshift")
