"""scikit-learn's estimators by their dotted path, and one of a person's own by the protocol."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from sklearn.ensemble import RandomForestClassifier
from sklearn.impute import SimpleImputer
from sklearn.pipeline import make_pipeline

from include.errors import CodeError, DataError, StepError
from include.modelling.estimators.estimator import LearningProblem
from include.modelling.estimators.graph import FEATURES, Graph
from include.modelling.estimators.named import named
from include.modelling.inputs import Input, Matrix
from include.modelling.tasks.binary import BinaryTask
from include.modelling.tasks.learning_task import LearningTask
from include.modelling.tasks.regression import RegressionTask
from tests.estimators.fitted import INPUTS, TASKS, fitted

pytestmark = pytest.mark.slow

FOREST = {"n_estimators": 8, "max_depth": 5}
KIND = {"binary": "Classifier", "multiclass": "Classifier", "regression": "Regressor"}


class Scale:
    """An estimator of a person's own: the first input, scaled."""

    tolerance = 1e-9

    def __init__(self, problem: LearningProblem, factor: float = 1.0) -> None:
        self._width, self._factor = len(problem.inputs), factor

    def fit(self, matrix: Matrix, labels: Matrix) -> None:
        self._scale = self._factor * float(labels.std() / matrix[:, 0].std())

    def predict(self, matrix: Matrix) -> Matrix:
        scaled: Matrix = matrix[:, 0] * self._scale
        return scaled

    def to_onnx(self) -> Any:
        graph = Graph()
        first = graph.node("Gather", FEATURES, graph.constant(np.int64(0)), axis=1)
        filled = graph.filled(first, graph.constant(0.0))
        return graph.finish(graph.node("Mul", filled, graph.constant(self._scale)), self._width)

    def importance(self, inputs: Sequence[Input]) -> dict[str, float]:
        return {inputs[0].name: 1.0}


def filled_forest(**parameters: Any) -> Any:
    return make_pipeline(SimpleImputer(), RandomForestClassifier(**parameters))


@pytest.mark.parametrize("task", TASKS, ids=lambda task: task.name)
def test_a_forests_file_answers_every_row_as_it_does_and_is_the_same_each_time(task: LearningTask) -> None:
    name = f"sklearn.ensemble.RandomForest{KIND[task.name]}"

    made = fitted(name, task, **FOREST)

    made.prove()
    assert fitted(name, task, **FOREST).content == made.content


@pytest.mark.parametrize("task", TASKS[:2], ids=lambda task: task.name)
def test_a_function_may_make_a_pipeline(task: LearningTask) -> None:
    fitted(f"{__name__}.filled_forest", task, missing=0.2, **FOREST).prove()


def test_an_estimator_of_ones_own_speaks_the_protocol() -> None:
    made = fitted(f"{__name__}.Scale", RegressionTask(), factor=0.5)

    made.prove()
    assert made.model.importance(INPUTS) == {"input_0": 1.0}  # type: ignore[attr-defined]


def test_a_file_that_is_further_off_than_its_tolerance_is_not_published() -> None:
    made = fitted("sklearn.ensemble.RandomForestRegressor", RegressionTask(), tolerance=1e-12, **FOREST)

    with pytest.raises(StepError, match=r"differ from the fitted model's by .*e-0\d in \d+ of 800 rows"):
        made.prove()


def test_a_forest_that_split_on_missing_values_is_refused() -> None:
    with pytest.raises(CodeError, match=r"has split on missing values, .* put a SimpleImputer before it"):
        fitted("sklearn.ensemble.RandomForestClassifier", BinaryTask(), missing=0.3, **FOREST)


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("gradient_boosting", "estimator 'gradient_boosting' is none of hist_gradient_boosting, "),
        ("no_such_library.Forest", "estimator 'no_such_library.Forest': No module named 'no_such_library'"),
        ("sklearn.ensemble.Florest", "sklearn.ensemble has no class or function Florest"),
    ],
)
def test_a_name_that_leads_nowhere_is_refused(name: str, says: str) -> None:
    with pytest.raises(CodeError, match=says):
        named(name)


def test_an_estimator_of_another_task_is_refused() -> None:
    with pytest.raises(CodeError, match="Ridge has no predict_proba, which a binary task asks for"):
        fitted("sklearn.linear_model.Ridge", BinaryTask())
    with pytest.raises(CodeError, match="historical_rates answers no multiclass task"):
        fitted("historical_rates", TASKS[1])


def test_what_scikit_learn_says_of_rows_and_parameters_is_one_line() -> None:
    with pytest.raises(DataError, match=r"any: sklearn\.linear_model\.Ridge cannot be fitted: Input X contains NaN"):
        fitted("sklearn.linear_model.Ridge", RegressionTask(), missing=0.3)
    with pytest.raises(DataError, match="unexpected keyword argument 'betas'"):
        fitted("sklearn.linear_model.Ridge", RegressionTask(), betas=1.0)
