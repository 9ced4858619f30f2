"""What an estimator is, which one a recipe names, and how it is fitted."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from include.errors import DataError
from include.modelling.estimators.named import named
from include.modelling.inputs import Input, Matrix
from include.modelling.recipe import Recipe
from include.modelling.tasks.learning_task import LearningTask

# Threads that spin while they wait make a fit several times slower where cores are shared or limited. It must be set
# before scikit-learn is imported, which is therefore done below, where it is used.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

MAX_ROWS = "max_rows"
"""The one parameter that every estimator has besides its own: fit on at most this many rows, spread evenly."""


@dataclass(frozen=True)
class LearningProblem:
    """What an estimator is made for: the task with its classes, the inputs in the matrix's order, and the seed."""

    task: LearningTask
    inputs: Sequence[Input]
    seed: int


class Estimating(Protocol):
    """What a recipe's dotted path makes: called with a `LearningProblem` and the recipe's parameters.

    Matrices are float64 [rows, inputs], NaN is a missing value, a category is its place in `Input.categories`. The same
    rows in the same order give the same model, bit for bit. `tolerance` is how far the file's answer may be from
    `predict`'s, as probability, or as a part of a number; `importance(inputs)`, which may be left out, answers how much
    each input matters, by name.
    """

    tolerance: float

    def fit(self, matrix: Matrix, labels: Matrix) -> None:
        """Learn labels (0 and 1, places of classes, or numbers; float64 [rows])."""

    def predict(self, matrix: Matrix) -> Matrix:
        """P(1) or a number for each row (float64 [rows]), or the probability of each class ([rows, classes])."""

    def to_onnx(self) -> Any:
        """The fitted model as an ONNX `ModelProto`: one input [N, F], and the answer as its last output."""


def fit(recipe: Recipe, problem: LearningProblem, matrix: Matrix, labels: Matrix) -> Estimating:
    """The recipe fitted on rows of inputs (float64 [rows, inputs], NaN is missing) and labels.

    The same rows in the same order give the same model, bit for bit. Raises `DataError` when there are not two
    different labels, or the estimator refuses the rows.
    """
    if labels.size == 0 or labels.min() == labels.max():
        raise DataError(
            f"{recipe.name}: {labels.size} labelled rows {problem.task.alike} cannot be learned from; load more days"
        )
    parameters = dict(recipe.parameters)
    taken = evenly(len(labels), parameters.pop(MAX_ROWS, len(labels)))
    try:
        estimator: Estimating = named(recipe.estimator)(problem, **parameters)
        estimator.fit(matrix[taken], labels[taken])
    except (TypeError, ValueError) as error:  # what scikit-learn raises for parameters and rows that it does not take
        first = next(iter(str(error).strip().splitlines()), type(error).__name__)
        raise DataError(f"{recipe.name}: {recipe.estimator} cannot be fitted: {first}") from error
    return estimator


def side_by_side(recipe: Recipe, *fits: Callable[[], Estimating]) -> list[Estimating]:
    """The models of several fits of a recipe, in parallel, each on its share of the cores.

    One fit alone leaves a third of two cores idle: between its parallel parts it works on one. How many threads a fit
    has changes nothing in its model.
    """
    if not getattr(named(recipe.estimator), "works", True):
        return [fit() for fit in fits]
    import sklearn.ensemble  # noqa: F401 - only what is loaded can be limited
    from joblib import cpu_count
    from threadpoolctl import threadpool_limits

    cores: int = cpu_count()
    workers = min(cores, len(fits))

    def shared(fit: Callable[[], Estimating]) -> Estimating:
        with threadpool_limits(cores // workers, user_api="openmp"):  # holds for this thread only
            return fit()

    pool = ThreadPoolExecutor(workers)
    try:
        # Limits on BLAS hold for all threads, so they are set here, not by the fits, which begin and end at any time.
        with threadpool_limits(1, user_api="blas"):
            return list(pool.map(shared, fits))
    finally:
        pool.shutdown(wait=False, cancel_futures=True)  # a step that must stop does not wait for its fits


def evenly(rows: int, at_most: int) -> npt.NDArray[np.intp] | slice:
    """Positions of at most this many of the rows, evenly spread; all of them if there are no more."""
    return slice(None) if rows <= at_most else np.arange(at_most) * rows // at_most
