"""The portable model file: a fitted model as ONNX, which serving and scoring run without its training library.

One input `features` (float64 [N, F], NaN is missing), one output, named by the task (formats/answers). What the inputs
mean is in the file's metadata under `nightshift`, as JSON.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date
from typing import Any

import numpy as np
from onnx import ModelProto, TensorProto, checker, helper, numpy_helper

from formats.portable_model import ModelDescription, answers_of
from include.errors import StepError
from include.modelling.estimators.estimator import Estimating
from include.modelling.estimators.graph import FEATURES
from include.modelling.inputs import Input, Matrix
from include.modelling.recipe import Recipe

METADATA = "nightshift"

_ROWS_AT_ONCE = 65_536


@dataclass(frozen=True)
class Origin:
    """A model's origin in its file: use case, the examples' key, recipe, the last day it saw, and its task's card."""

    use_case: str
    key: str
    recipe: Recipe
    trained_through: date
    task: Mapping[str, Any] = field(default_factory=dict)

    def metadata(self, inputs: Sequence[Input]) -> str:
        """The canonical JSON in the file."""
        body = {
            "use_case": self.use_case,
            "key": self.key,
            "inputs": [wanted.to_dict() for wanted in inputs],
            "recipe": json.loads(self.recipe.to_json()),
            "trained_through": self.trained_through.isoformat(),
            **self.task,
        }
        return json.dumps(body, sort_keys=True)


def write(model: Estimating, inputs: Sequence[Input], origin: Origin) -> bytes:
    """The model as a portable file; equal models are equal bytes."""
    metadata = origin.metadata(inputs)
    answers = answers_of(ModelDescription.from_json(metadata), origin.recipe.name)
    proto = model.to_onnx()
    _take_features(proto, len(inputs))
    _answer(proto, answers.output, answers.shape)
    proto.graph.name = origin.use_case
    del proto.metadata_props[:]
    helper.set_model_props(proto, {METADATA: metadata})
    checker.check_model(proto)
    return bytes(proto.SerializeToString(deterministic=True))


def run(content: bytes, matrix: Matrix) -> Matrix:
    """The file's own answers, float64 [rows] or [rows, classes]; for proving that it equals its model."""
    # ONNX Runtime 1.29 and later sends what it runs to its maker, unless this is set before it is imported.
    os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")  # other steps want the cores
    session = onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])
    parts = [
        session.run(None, {FEATURES: np.ascontiguousarray(matrix[start : start + _ROWS_AT_ONCE])})[0]
        for start in range(0, max(len(matrix), 1), _ROWS_AT_ONCE)
    ]
    return np.concatenate(parts)


def prove(content: bytes, matrix: Matrix, expected: Matrix, tolerance: float) -> None:
    """Raise `StepError` unless the file answers every row as the fitted model did.

    `tolerance` is how far it may be off: as probability, or of a number beyond 1 as a part of it.
    """
    off = np.abs(run(content, matrix) - expected) / np.maximum(1.0, np.abs(expected))
    worst = float(off.max(initial=0.0))
    if not worst <= tolerance:
        rows = int(np.count_nonzero(~(off <= tolerance).reshape(len(off), -1).all(axis=1)))
        raise StepError(
            f"portable file: its answers differ from the fitted model's by {worst:.3g} in {rows} of {len(off)} rows; "
            "nothing published"
        )


def _take_features(proto: ModelProto, width: int) -> None:
    """Let the graph take `features` as float64, whatever it takes."""
    (taken,) = proto.graph.input
    kind = taken.type.tensor_type.elem_type
    if (taken.name, kind) == (FEATURES, TensorProto.DOUBLE):
        return
    inner = f"{FEATURES}_taken"
    _rename(proto, taken.name, inner)
    proto.graph.node.insert(0, helper.make_node("Cast", [FEATURES], [inner], to=kind))
    del proto.graph.input[:]
    proto.graph.input.append(helper.make_tensor_value_info(FEATURES, TensorProto.DOUBLE, ["N", width]))


def _answer(proto: ModelProto, name: str, shape: tuple[int, ...]) -> None:
    """Let the graph's last output be its only one, by this name, as float64 of the shape [N, *shape]."""
    given = proto.graph.output[-1]
    _rename(proto, name, f"{name}_inner")
    tensor = given.type.tensor_type
    if tensor.elem_type == TensorProto.DOUBLE and len(tensor.shape.dim) == 1 + len(shape):
        _rename(proto, given.name, name)
    else:
        target = f"{name}_shape"
        proto.graph.initializer.append(numpy_helper.from_array(np.array([-1, *shape]), target))
        proto.graph.node.append(helper.make_node("Cast", [given.name], [f"{name}_cast"], to=TensorProto.DOUBLE))
        proto.graph.node.append(helper.make_node("Reshape", [f"{name}_cast", target], [name]))
    del proto.graph.output[:]
    proto.graph.output.append(helper.make_tensor_value_info(name, TensorProto.DOUBLE, ["N", *shape]))


def _rename(proto: ModelProto, name: str, new: str) -> None:
    """Give a value of the graph another name."""
    for node in proto.graph.node:
        node.input[:] = [new if each == name else each for each in node.input]
        node.output[:] = [new if each == name else each for each in node.output]
    for output in proto.graph.output:
        output.name = new if output.name == name else output.name
