"""Tiny portable model files: a logistic model over the inputs, with missing values taken as zero."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from onnx import TensorProto, helper, numpy_helper

INPUTS: tuple[dict[str, Any], ...] = (
    {"name": "distance", "kind": "number", "categories": []},
    {"name": "hour", "kind": "number", "categories": []},
    {"name": "carrier", "kind": "category", "categories": ["AA", "B6", "UA"]},
)
WEIGHTS = (0.5, -0.25, 1.0)


def portable_bytes(
    *,
    use_case: str = "flight_delay",
    inputs: Sequence[Mapping[str, Any]] = INPUTS,
    weights: Sequence[float] = WEIGHTS,
    bias: float = 0.1,
    output: str = "Sigmoid",
    metadata: Mapping[str, str] | None = None,
    trained_through: str = "2013-09-30",
) -> bytes:
    """A portable model file; `output` is the last operator, `metadata` overrides the whole of its metadata."""
    graph = helper.make_graph(
        [
            helper.make_node("IsNaN", ["features"], ["missing"]),
            helper.make_node("Where", ["missing", "zero", "features"], ["whole"]),
            helper.make_node("MatMul", ["whole", "weights"], ["product"]),
            helper.make_node("Add", ["product", "bias"], ["score"]),
            helper.make_node(output, ["score"], ["probability"]),
        ],
        "tiny",
        [helper.make_tensor_value_info("features", TensorProto.DOUBLE, [None, len(inputs)])],
        [helper.make_tensor_value_info("probability", TensorProto.DOUBLE, [None])],
        [
            numpy_helper.from_array(np.float64(0), "zero"),
            numpy_helper.from_array(np.array(weights, dtype=np.float64), "weights"),
            numpy_helper.from_array(np.float64(bias), "bias"),
        ],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)
    card = {
        "use_case": use_case,
        "key": "flight_id",
        "inputs": list(inputs),
        "recipe": "tiny",
        "trained_through": trained_through,
    }
    helper.set_model_props(model, dict(metadata) if metadata is not None else {"nightshift": json.dumps(card)})
    return model.SerializeToString()


def expected(distance: float, hour: float, code: float, *, bias: float = 0.1) -> float:
    """What `portable_bytes()` answers, computed by hand."""
    score = WEIGHTS[0] * distance + WEIGHTS[1] * hour + WEIGHTS[2] * code + bias
    return float(1 / (1 + np.exp(-score)))


def write(folder: Path, content: bytes) -> tuple[str, str]:
    """Store a model file and return its URI and SHA-256."""
    sha256 = hashlib.sha256(content).hexdigest()
    path = folder / f"{sha256}.onnx"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    return path.as_uri(), sha256
