"""The estimators: each fits a recipe on a matrix of inputs and returns probabilities."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from formats.portable_model import InputKind
from include.errors import DataError
from include.modelling.inputs import Input, Matrix
from include.modelling.recipe import Estimator, Recipe

if TYPE_CHECKING:
    from sklearn.ensemble import HistGradientBoostingClassifier

# Threads that spin while they wait make a fit several times slower where cores are shared or limited. It must be set
# before scikit-learn is imported, which is therefore done below, where it is used.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

MAX_ROWS = "max_rows"
"""The one parameter that every estimator has besides its own: fit on at most this many rows, spread evenly."""


@dataclass(frozen=True)
class Trees:
    """Gradient-boosted trees; a category's number is split like any number, NaN has its own branch at every node."""

    classifier: HistGradientBoostingClassifier

    def probability(self, matrix: Matrix) -> Matrix:
        """P(label) for each row."""
        answer: Matrix = self.classifier.predict_proba(matrix)[:, 1]
        return answer


@dataclass(frozen=True)
class Linear:
    """A logistic regression over scaled numbers and one-hot categories.

    `numbers` and `categories` are positions in the matrix. A missing number counts as its training mean (`mean`), a
    missing category as none at all. `tables[i]` holds the weight of each category of `categories[i]`.
    """

    numbers: tuple[int, ...]
    categories: tuple[int, ...]
    mean: Matrix
    scale: Matrix
    weights: Matrix
    tables: tuple[Matrix, ...]
    intercept: float

    def probability(self, matrix: Matrix) -> Matrix:
        """P(label) for each row."""
        from scipy.special import expit

        score = scaled(matrix[:, self.numbers], self.mean, self.scale) @ self.weights + self.intercept
        for position, table in zip(self.categories, self.tables, strict=True):
            padded = np.append(table, 0.0)
            score += padded[np.nan_to_num(matrix[:, position], nan=len(table)).astype(np.int64)]
        answer: Matrix = expit(score)
        return answer


@dataclass(frozen=True)
class Rates:
    """The mean of the historical rates that are known for a row; `prior` where none is."""

    prior: float

    def probability(self, matrix: Matrix) -> Matrix:
        """P(label) for each row."""
        known = ~np.isnan(matrix)
        count = known.sum(axis=1)
        mean = np.where(known, matrix, 0.0).sum(axis=1) / np.maximum(count, 1)
        return np.where(count > 0, np.clip(mean, 0.0, 1.0), self.prior)


Model = Trees | Linear | Rates


def fit(recipe: Recipe, inputs: Sequence[Input], matrix: Matrix, labels: Matrix) -> Model:
    """The recipe fitted on rows of inputs (float64 [rows, inputs], NaN is missing) and labels (0 or 1).

    The same rows in the same order give the same model, bit for bit. Raises `DataError` when only one class is there.
    """
    if labels.size == 0 or labels.min() == labels.max():
        raise DataError(
            f"{recipe.name}: {labels.size} labelled rows of one class cannot be learned from; load more days"
        )
    parameters = dict(recipe.parameters)
    taken = evenly(len(labels), parameters.pop(MAX_ROWS, len(labels)))
    if recipe.estimator is Estimator.HIST_GRADIENT_BOOSTING:
        return _fit_trees(recipe, parameters, matrix[taken], labels[taken])
    if recipe.estimator is Estimator.LOGISTIC_REGRESSION:
        return _fit_linear(recipe, parameters, inputs, matrix[taken], labels[taken])
    return Rates(prior=float(labels.mean()))


def side_by_side(recipe: Recipe, *fits: Callable[[], Model]) -> list[Model]:
    """The models of several fits of a recipe, in parallel, each on its share of the cores.

    One fit alone leaves a third of two cores idle: between its parallel parts it works on one. How many threads a fit
    has changes nothing in its model.
    """
    if recipe.estimator is Estimator.HISTORICAL_RATES:
        return [fit() for fit in fits]  # there is nothing to share in taking a mean
    import sklearn.ensemble  # noqa: F401 - only what is loaded can be limited
    from joblib import cpu_count
    from threadpoolctl import threadpool_limits

    cores: int = cpu_count()
    workers = min(cores, len(fits))

    def shared(fit: Callable[[], Model]) -> Model:
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


def scaled(numbers: Matrix, mean: Matrix, scale: Matrix) -> Matrix:
    """Numbers in standard deviations from their mean; a missing one is at the mean."""
    standard: Matrix = (numbers - mean) / scale
    np.nan_to_num(standard, copy=False, nan=0.0)
    return standard


def _fit_trees(recipe: Recipe, parameters: Mapping[str, Any], matrix: Matrix, labels: Matrix) -> Trees:
    from sklearn.ensemble import HistGradientBoostingClassifier

    given = {"early_stopping": False, **parameters}
    classifier = HistGradientBoostingClassifier(random_state=recipe.seed, **given)
    return Trees(classifier.fit(matrix, labels))


def _fit_linear(
    recipe: Recipe, parameters: Mapping[str, Any], inputs: Sequence[Input], matrix: Matrix, labels: Matrix
) -> Linear:
    from sklearn.linear_model import LogisticRegression
    from threadpoolctl import threadpool_limits

    numbers = tuple(i for i, wanted in enumerate(inputs) if wanted.kind is InputKind.NUMBER)
    categories = tuple(i for i, wanted in enumerate(inputs) if wanted.kind is InputKind.CATEGORY)
    mean, scale = _moments(matrix[:, numbers])
    blocks = [scaled(matrix[:, numbers], mean, scale)]
    blocks += [matrix[:, [i]] == np.arange(len(inputs[i].categories)) for i in categories]
    # With far more rows than weights this solver is exact in a few steps; others stop too early.
    regression = LogisticRegression(solver="newton-cholesky", random_state=recipe.seed, **parameters)
    # One thread: a small problem, and sums in the same order on any number of cores.
    with threadpool_limits(1, user_api="blas"):
        regression.fit(np.hstack(blocks), labels)
    weights = regression.coef_[0]
    cuts = np.cumsum([len(numbers), *(len(inputs[i].categories) for i in categories)])[:-1]
    head, *tables = np.split(weights, cuts)
    return Linear(numbers, categories, mean, scale, head, tuple(tables), float(regression.intercept_[0]))


def _moments(numbers: Matrix) -> tuple[Matrix, Matrix]:
    known = ~np.isnan(numbers)
    count = np.maximum(known.sum(axis=0), 1)
    mean = np.where(known, numbers, 0.0).sum(axis=0) / count
    spread = np.sqrt((np.where(known, numbers - mean, 0.0) ** 2).sum(axis=0) / count)
    return mean, np.where(spread > 0, spread, 1.0)
