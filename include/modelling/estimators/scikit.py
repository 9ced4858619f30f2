"""Any scikit-learn estimator or pipeline, and LightGBM's and XGBoost's, by skl2onnx."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from onnx import ModelProto, TensorProto, helper, numpy_helper

from formats.task import Task
from include.errors import CodeError
from include.modelling.estimators.classes import Classes
from include.modelling.estimators.estimator import LearningProblem
from include.modelling.estimators.graph import FEATURES, OPSET
from include.modelling.inputs import Matrix

TOLERANCE = 1e-5
"""Most converters count in single precision; another one is a recipe's parameter `tolerance`."""
TARGET = {"": OPSET, "ai.onnx.ml": 3}
ASKED = {Task.BINARY: "predict_proba", Task.MULTICLASS: "predict_proba", Task.REGRESSION: "predict"}


class Scikit:
    """An estimator made by `make(**parameters)`; each `random_state` that is not set is the recipe's seed.

    It learns and answers numbers as single precision holds them, so that its file meets the same ones.
    """

    def __init__(
        self, make: Callable[..., Any], problem: LearningProblem, *, tolerance: float = TOLERANCE, **parameters: Any
    ) -> None:
        self.tolerance = tolerance
        self.learner = make(**parameters)
        self._classes = Classes(problem.task)
        self._task = problem.task.name
        self._width = len(problem.inputs)
        if not hasattr(self.learner, ASKED[self._task]):
            raise CodeError(
                f"candidates.py: {type(self.learner).__name__} has no {ASKED[self._task]}, which a {self._task} task "
                "asks for; take another estimator"
            )
        named = self.learner.get_params()
        unset = (name for name in named if name.rpartition("__")[2] == "random_state" and named[name] is None)
        self.learner.set_params(**dict.fromkeys(unset, problem.seed))

    def fit(self, matrix: Matrix, labels: Matrix) -> None:
        """Fit it; classes are whole numbers."""
        self.learner.fit(_single(matrix), labels if self._task is Task.REGRESSION else labels.astype(np.int64))

    def predict(self, matrix: Matrix) -> Matrix:
        """One answer a row."""
        return self._classes.predicted(self.learner, _single(matrix))

    def to_onnx(self) -> ModelProto:
        """What skl2onnx makes of it; the probability of 1, or of each class of the task, as the last output."""
        from skl2onnx import to_onnx
        from skl2onnx.common.data_types import FloatTensorType

        _refuse_missing(self.learner)
        _know_others(self.learner)
        classifies = self._task is not Task.REGRESSION
        given = [(f"{FEATURES}_single", FloatTensorType([None, self._width]))]
        options = {id(self.learner): {"zipmap": False}} if classifies else None
        try:
            proto = to_onnx(self.learner, initial_types=given, options=options, target_opset=TARGET)
        except Exception as error:  # skl2onnx has many ways to say no
            first = next(iter(str(error).strip().splitlines()), "")[:200]
            raise CodeError(
                f"candidates.py: skl2onnx writes no {type(self.learner).__name__}: {type(error).__name__}: {first}"
            ) from error
        if self._classes.shape:
            _append(proto, "MatMul", self._classes.places(self.learner).astype(np.float32))
        elif classifies:
            _append(proto, "Gather", np.int64(1), axis=1)
        return proto


def _single(matrix: Matrix) -> Any:
    return matrix.astype(np.float32)


def _append(proto: ModelProto, kind: str, constant: Any, **attributes: Any) -> None:
    """Put an operator with a constant behind the last output."""
    given, name = proto.graph.output[-1].name, "answered"
    proto.graph.initializer.append(numpy_helper.from_array(np.asarray(constant), f"{name}_by"))
    proto.graph.node.append(helper.make_node(kind, [given, f"{name}_by"], [name], **attributes))
    proto.graph.output.append(helper.make_tensor_value_info(name, TensorProto.FLOAT, None))


def _refuse_missing(learner: Any) -> None:
    """Forests that split on missing values cannot be written: skl2onnx 1.20 looks for their threshold for ever."""
    parts = [step for _, step in getattr(learner, "steps", [("", learner)])]
    for tree in (each for part in parts for each in np.ravel(getattr(part, "estimators_", []))):
        if hasattr(tree, "tree_") and not np.isfinite(tree.tree_.threshold).all():
            raise CodeError(
                f"candidates.py: {type(learner).__name__} has split on missing values, which its file cannot hold; "
                "put a SimpleImputer before it"
            )


OTHERS: Mapping[str, tuple[str, str, str]] = {
    "LGBMClassifier": ("lightgbm", "LightGbm", "calculate_linear_classifier_output_shapes"),
    "LGBMRegressor": ("lightgbm", "LightGbm", "calculate_linear_regressor_output_shapes"),
    "XGBClassifier": ("xgboost", "XGBoost", "calculate_linear_classifier_output_shapes"),
    "XGBRegressor": ("xgboost", "XGBoost", "calculate_linear_regressor_output_shapes"),
}
"""Classes that onnxmltools converts: their library, its converter, and what their outputs are like."""


def _know_others(learner: Any) -> None:
    """Let skl2onnx convert what onnxmltools can, alone or as the last step of a pipeline."""
    last = learner.steps[-1][1] if hasattr(learner, "steps") else learner
    if type(last).__name__ not in OTHERS:
        return
    from importlib import import_module

    from skl2onnx import update_registered_converter
    from skl2onnx.common import shape_calculator

    library, converter, shapes = OTHERS[type(last).__name__]
    module = import_module(f"onnxmltools.convert.{library}.operator_converters.{converter}")
    update_registered_converter(
        type(last),
        type(last).__name__,
        getattr(shape_calculator, shapes),
        getattr(module, f"convert_{converter.lower()}"),
        options={"nocl": [True, False], "zipmap": [True, False, "columns"]} if "Classifier" in shapes.title() else None,
    )
