"""The portable file answers as the fitted model does, row by row."""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import date

import numpy as np
import onnx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from formats.portable_model import InputKind
from include.errors import StepError
from include.modelling import portable
from include.modelling.estimators.estimator import Estimating, LearningProblem, fit
from include.modelling.estimators.rates import Rates
from include.modelling.inputs import Input, Matrix
from include.modelling.portable import Origin
from include.modelling.recipe import Estimator, Recipe
from include.modelling.tasks.binary import BinaryTask

CATEGORIES = ("AA", "B6", "UA")
INPUTS = (Input("distance"), Input("rate"), Input("carrier", InputKind.CATEGORY, CATEGORIES), Input("gust"))


def recipe(estimator: Estimator, **parameters: float) -> Recipe:
    return Recipe(str(estimator), estimator, tuple(wanted.name for wanted in INPUTS), parameters)


def origin(of: Recipe) -> Origin:
    return Origin("flight_delay", "flight_id", of, date(2013, 9, 30))


def fitted(of: Recipe, matrix: Matrix, labels: Matrix, inputs: Sequence[Input] = INPUTS) -> Estimating:
    return fit(of, LearningProblem(BinaryTask(), inputs, of.seed), matrix, labels)


def baseline(prior: float) -> Rates:
    made = Rates(LearningProblem(BinaryTask(), INPUTS, 0))
    made.prior = prior
    return made


def rows(seed: int, count: int, missing: float) -> tuple[Matrix, Matrix]:
    random = np.random.default_rng(seed)
    matrix = random.normal(size=(count, len(INPUTS))).round(1)
    matrix[:, 2] = random.integers(0, len(CATEGORIES), count)
    labels = (matrix[:, 0] + random.normal(size=count) > 0).astype(float)
    labels[:2] = 0, 1
    matrix[random.random(matrix.shape) < missing] = np.nan
    return matrix, labels


def unseen(seed: int, thresholds: list[float]) -> Matrix:
    """Rows training never saw: every threshold met exactly, far values, and nothing known at all."""
    random = np.random.default_rng(seed)
    matrix = random.choice([*thresholds, -1e300, 1e300, np.nan, 0.0], size=(300, len(INPUTS)))
    matrix[:, 2] = random.choice([0, 1, 2, np.nan], size=300)
    matrix[0] = np.nan
    return matrix


@pytest.mark.slow
@settings(max_examples=25, deadline=None)
@given(
    seed=st.integers(0, 10_000),
    trees=st.integers(1, 12),
    leaves=st.integers(2, 20),
    missing=st.sampled_from([0.0, 0.2, 0.9]),
)
def test_any_forest_answers_as_its_file_does_on_any_row(seed: int, trees: int, leaves: int, missing: float) -> None:
    of = recipe(Estimator.HIST_GRADIENT_BOOSTING, max_iter=trees, max_leaf_nodes=leaves, min_samples_leaf=2)
    matrix, labels = rows(seed, 200, missing)
    model = fitted(of, matrix, labels)

    content = portable.write(model, INPUTS, origin(of))

    nodes = [node for (tree,) in model.learner._predictors for node in tree.nodes]  # type: ignore[attr-defined]
    strange = unseen(seed, [float(node["num_threshold"]) for node in nodes if not node["is_leaf"]] or [0.5])
    for each in (matrix, strange):
        assert np.abs(portable.run(content, each) - model.predict(each)).max() <= 1e-9


def test_a_tree_that_found_nothing_to_split_is_a_file_too() -> None:
    of = recipe(Estimator.HIST_GRADIENT_BOOSTING, max_iter=3, min_samples_leaf=200)
    matrix, labels = rows(1, 100, 0.1)
    model = fitted(of, matrix, labels)

    content = portable.write(model, INPUTS, origin(of))

    assert portable.run(content, matrix) == pytest.approx(np.full(100, labels.mean()), abs=1e-9)


@pytest.mark.parametrize("missing", [0.0, 0.3])
def test_a_linear_model_answers_as_its_file_does(missing: float) -> None:
    of = recipe(Estimator.LOGISTIC_REGRESSION, C=0.5)
    matrix, labels = rows(2, 500, missing)
    model = fitted(of, matrix, labels)

    content = portable.write(model, INPUTS, origin(of))

    for each in (matrix, np.full((1, len(INPUTS)), np.nan)):
        assert portable.run(content, each) == pytest.approx(model.predict(each), abs=1e-9)


@pytest.mark.parametrize("width", [1, 2])
def test_a_linear_model_of_few_numbers_loses_no_precision(width: int) -> None:
    # One input once met an optimisation of onnxruntime that multiplies in single precision.
    inputs = tuple(Input(f"rate_{number}") for number in range(width))
    of = Recipe("few", Estimator.LOGISTIC_REGRESSION, tuple(wanted.name for wanted in inputs))
    random = np.random.default_rng(0)
    matrix = random.normal(0.4, 0.1, (100, width))
    model = fitted(of, matrix, (random.random(100) < 0.5).astype(float), inputs)

    content = portable.write(model, inputs, origin(of))

    assert portable.run(content, matrix) == pytest.approx(model.predict(matrix), abs=1e-13)


def test_the_baseline_is_the_mean_of_the_rates_that_are_known() -> None:
    of = recipe(Estimator.HISTORICAL_RATES)
    matrix = np.array([[0.1, 0.3, np.nan, np.nan], [np.nan] * 4, [0.5, np.nan, 0.5, 5.0]])

    answers = portable.run(portable.write(baseline(0.22), INPUTS, origin(of)), matrix)

    assert answers == pytest.approx([0.2, 0.22, 1.0], abs=1e-12)


@pytest.mark.parametrize("estimator", [each for each in Estimator if each is not Estimator.CLASS_SHARES])
def test_the_same_rows_give_the_same_bytes(estimator: Estimator) -> None:
    of = recipe(estimator)
    matrix, labels = rows(3, 3_000, 0.1)

    first, second = (portable.write(fitted(of, matrix, labels), INPUTS, origin(of)) for _ in range(2))

    assert first == second


def test_the_file_says_what_it_is_and_what_it_takes() -> None:
    of = recipe(Estimator.LOGISTIC_REGRESSION)
    content = portable.write(fitted(of, *rows(4, 100, 0.0)), INPUTS, origin(of))

    model = onnx.load_from_string(content)
    told = json.loads({entry.key: entry.value for entry in model.metadata_props}["nightshift"])

    assert told["use_case"] == "flight_delay"
    assert told["key"] == "flight_id"
    assert told["trained_through"] == "2013-09-30"
    assert told["inputs"][2] == {"name": "carrier", "kind": "category", "categories": ["AA", "B6", "UA"]}
    assert Recipe.from_json(json.dumps(told["recipe"])) == of


def test_a_truncated_file_is_refused() -> None:
    of = recipe(Estimator.HIST_GRADIENT_BOOSTING, max_iter=5)
    matrix, labels = rows(5, 300, 0.1)
    content = portable.write(fitted(of, matrix, labels), INPUTS, origin(of))

    for size in (0, 10, len(content) // 2, len(content) - 1):
        with pytest.raises(Exception, match=r"(?i)protobuf|model|parse|ir_version|graph"):
            portable.run(content[:size], matrix)


def test_a_file_that_answers_otherwise_is_not_published() -> None:
    of = recipe(Estimator.HISTORICAL_RATES)
    matrix, _ = rows(6, 50, 0.1)
    content = portable.write(baseline(0.22), INPUTS, origin(of))

    with pytest.raises(StepError, match="differ from the fitted model"):
        portable.prove(content, matrix, np.full(50, 0.5), 1e-9)
    with pytest.raises(StepError, match="nan"):
        portable.prove(content, matrix, np.full(50, np.nan), 1e-9)
