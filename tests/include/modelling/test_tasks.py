"""Each task: what a label is, figures as their definitions have them, and comparisons by day."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn import metrics

from include.errors import DataError
from include.modelling.evaluation import draws
from include.modelling.inputs import Matrix
from include.modelling.tasks.binary import BinaryTask
from include.modelling.tasks.multiclass import MulticlassTask
from include.modelling.tasks.regression import RegressionTask

CLASSES = ("early", "late", "on time")
MULTICLASS, REGRESSION = MulticlassTask(CLASSES), RegressionTask()
ROWS, DAYS = 120, 5


def classified(seed: int) -> tuple[Matrix, Matrix, Matrix]:
    """Labels, and the answers of two models."""
    random = np.random.default_rng(seed)
    labels = np.append(random.integers(0, 3, ROWS - 3), [0, 1, 2]).astype(float)
    own, other = (random.dirichlet((1, 1, 1), ROWS) for _ in range(2))
    own[np.arange(ROWS), labels.astype(int)] += 0.5
    return labels, own / own.sum(axis=1, keepdims=True), other


def measured(seed: int) -> tuple[Matrix, Matrix, Matrix]:
    """Labels, and the answers of two models, the first nearer."""
    random = np.random.default_rng(seed)
    labels = random.normal(20, 10, ROWS)
    return labels, labels + random.normal(1, 2, ROWS), labels + random.normal(-1, 5, ROWS)


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 10_000))
def test_figures_of_classes_agree_with_scikit_learn(seed: int) -> None:
    labels, answers, _ = classified(seed)

    figures = MULTICLASS.score(labels, answers)

    assert figures is not None
    assert figures.macro_f1 == pytest.approx(metrics.f1_score(labels, answers.argmax(axis=1), average="macro"))
    assert figures.accuracy == pytest.approx(metrics.accuracy_score(labels, answers.argmax(axis=1)))
    assert figures.log_loss == pytest.approx(metrics.log_loss(labels, answers))


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 10_000))
def test_figures_of_numbers_agree_with_scikit_learn(seed: int) -> None:
    labels, answers, _ = measured(seed)

    figures = REGRESSION.score(labels, answers)

    assert figures is not None
    assert figures.rmse == pytest.approx(metrics.root_mean_squared_error(labels, answers))
    assert figures.mae == pytest.approx(metrics.mean_absolute_error(labels, answers))
    assert figures.r2 == pytest.approx(metrics.r2_score(labels, answers))
    assert figures.bias == pytest.approx(np.mean(answers - labels))


@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 10_000))
def test_a_difference_of_resampled_days_is_that_of_the_resampled_rows(seed: int) -> None:
    days = np.random.default_rng(seed).permutation(np.arange(ROWS) % DAYS)
    weights = draws(DAYS, 4, seed)
    labels, own, other = classified(seed)
    numbers, near, far = measured(seed)

    classes = MULTICLASS.compare(labels, own, other, days, weights)
    distances = REGRESSION.compare(numbers, near, far, days, weights)

    assert classes is not None
    assert distances is not None
    for place, weight in enumerate(weights):
        drawn = np.repeat(np.arange(ROWS), weight[days].astype(int))
        f1 = [
            metrics.f1_score(labels[drawn], each[drawn].argmax(axis=1), average="macro", zero_division=0.0)
            for each in (own, other)
        ]
        assert classes[1][place] == pytest.approx(f1[0] - f1[1])
        rmse = [metrics.root_mean_squared_error(numbers[drawn], each[drawn]) for each in (near, far)]
        assert distances[1][place] == pytest.approx(1 - rmse[0] / rmse[1])
    assert distances[0] > 0, "the nearer one is better"


def test_classes_are_those_of_the_labels_unless_the_spec_names_them() -> None:
    given_labels = pa.array(["b", "a", "b", "10"])

    assert MulticlassTask().seen(given_labels).classes == ("10", "a", "b")
    assert MulticlassTask().seen(pa.array([2, 1, 2])).classes == ("1", "2")
    assert MULTICLASS.seen(given_labels).classes == CLASSES


def test_a_label_that_is_no_class_is_marked_and_named() -> None:
    read = MULTICLASS.read(pa.array(["late", "lost", "early"]))

    assert read.wrong.tolist() == [False, True, False]
    assert read.told.startswith("is none of the classes (lost); answer one of early, late, on time")


def test_a_number_that_is_not_finite_is_marked() -> None:
    assert REGRESSION.read(pa.array([1.5, float("inf"), -3.0])).wrong.tolist() == [False, True, False]


@pytest.mark.parametrize("task", [BinaryTask(), REGRESSION], ids=["binary", "regression"])
def test_a_text_is_no_number(task: BinaryTask | RegressionTask) -> None:
    with pytest.raises(DataError, match="column label holds string, such as late; answer "):
        task.read(pa.array(["late"]))


@pytest.mark.parametrize("seed", [1, 2])
def test_answers_come_back_from_the_columns_of_predictions(seed: int) -> None:
    labels, answers, _ = classified(seed)
    _, near, _ = measured(seed)

    table, other = pa.table(MULTICLASS.columns(answers)), pa.table(REGRESSION.columns(near))

    assert (MULTICLASS.answers(table) == answers).all()
    assert table["class"].to_pylist() == [CLASSES[place] for place in answers.argmax(axis=1)]
    assert (REGRESSION.answers(other) == near).all()
    assert (MULTICLASS.labels(pa.chunked_array([MULTICLASS.written(labels)])) == labels).all()
    assert MulticlassTask().judged(table).classes == CLASSES


def test_labels_that_are_all_the_same_have_no_figures() -> None:
    assert MULTICLASS.score(np.zeros(5), np.full((5, 3), 1 / 3)) is None
    assert REGRESSION.score(np.ones(5), np.arange(5.0)) is None
    assert REGRESSION.compare(np.ones(5), np.arange(5.0), np.ones(5), np.zeros(5, int), np.ones((2, 1))) is None


@pytest.mark.parametrize(
    ("task", "answers", "spread"),
    [
        (BinaryTask(), [0.0, 0.05, 0.1, 0.55, 1.0], {"0 to 0.1": 2, "0.1 to 0.2": 1, "0.5 to 0.6": 1, "0.9 to 1": 1}),
        (MULTICLASS, [[0.2, 0.7, 0.1], [0.1, 0.9, 0.0], [0.6, 0.2, 0.2]], {"early": 1, "late": 2}),
        (REGRESSION, [-5.0, -5.0, 0.0, 15.0], {"-5 to -3": 2, "-1 to 1": 1, "13 to 15": 1}),
        (REGRESSION, [7.0, 7.0], {"7": 2}),
        (REGRESSION, [], {}),
    ],
)
def test_the_spread_of_predictions_counts_every_row_once(
    task: BinaryTask | MulticlassTask | RegressionTask, answers: list[object], spread: dict[str, int]
) -> None:
    found = task.spread(pa.table(task.columns(np.array(answers, np.float64))))

    assert {name: rows for name, rows in found if rows} == spread


def test_a_class_that_only_an_older_version_knew_is_counted_too() -> None:
    older = MulticlassTask(("cancelled", *CLASSES))

    found = MULTICLASS.spread(pa.table(older.columns(np.eye(4))))

    assert found == [("early", 1), ("late", 1), ("on time", 1), ("cancelled", 1)]
