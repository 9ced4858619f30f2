"""The quality of predictions: figures for a set of rows, and AUC under resampled days."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from include.modelling.inputs import Matrix

BINS = 10
"""Equal-count bins of the calibration error."""


@dataclass(frozen=True)
class Scores:
    """Figures of one set of predictions; `bias` is mean probability minus share of positives."""

    rows: int
    positives: int
    auc: float
    average_precision: float
    brier: float
    log_loss: float
    calibration_error: float
    bias: float


@dataclass(frozen=True)
class CalibrationBin:
    """One of the equal-count groups of a calibration curve."""

    rows: int
    predicted: float
    observed: float


def score(labels: Matrix, probabilities: Matrix) -> Scores | None:
    """The figures, or None where one of the two classes is absent."""
    positives = int(labels.sum())
    if positives in (0, labels.size):
        return None
    return Scores(
        rows=int(labels.size),
        positives=positives,
        auc=auc(labels, probabilities),
        average_precision=average_precision(labels, probabilities),
        brier=float(np.mean((probabilities - labels) ** 2)),
        log_loss=log_loss(labels, probabilities),
        calibration_error=calibration_error(labels, probabilities),
        bias=float(probabilities.mean() - labels.mean()),
    )


def auc(labels: Matrix, probabilities: Matrix) -> float:
    """Area under the ROC curve; a tie counts one half. Both classes must be there."""
    return PairCounts.of(labels, probabilities, np.zeros(labels.size, np.intp)).auc()


def average_precision(labels: Matrix, probabilities: Matrix) -> float:
    """Mean precision over the positives, rows of equal probability taken at once."""
    order = np.argsort(-probabilities, kind="stable")
    ends = np.append(np.flatnonzero(np.diff(probabilities[order])), labels.size - 1)
    found = np.cumsum(labels[order])[ends]
    gained = np.diff(found, prepend=0.0)
    return float((gained * found / (ends + 1)).sum() / found[-1])


def log_loss(labels: Matrix, probabilities: Matrix) -> float:
    """Mean negative log likelihood, in nats; a probability of 0 or 1 counts as the nearest one that is not."""
    tiny = np.finfo(np.float64).eps
    of_label = np.clip(np.where(labels == 1, probabilities, 1 - probabilities), tiny, 1 - tiny)
    return float(-np.log(of_label).mean())


def calibration(labels: Matrix, probabilities: Matrix) -> list[CalibrationBin]:
    """Mean prediction and share of positives in `BINS` equal-count groups, by rising prediction."""
    order = np.argsort(probabilities, kind="stable")
    return [
        CalibrationBin(len(part), float(probabilities[part].mean()), float(labels[part].mean()))
        for part in np.array_split(order, BINS)
        if len(part)
    ]


def calibration_error(labels: Matrix, probabilities: Matrix) -> float:
    """Expected calibration error: the bins' mean distance between prediction and outcome, weighted by rows."""
    bins = calibration(labels, probabilities)
    return sum(b.rows * abs(b.predicted - b.observed) for b in bins) / max(labels.size, 1)


@dataclass(frozen=True)
class PairCounts:
    """For each pair of days (a, b): how many (positive of a, negative of b) the predictions put in the right order.

    AUC over days drawn with weights w is w·won·w / (w·positives)(w·negatives): a bootstrap by day needs no row again.
    A tie counts one half.
    """

    won: Matrix
    positives: Matrix
    negatives: Matrix

    @classmethod
    def of(cls, labels: Matrix, probabilities: Matrix, days: npt.NDArray[np.intp]) -> PairCounts:
        """Counts for rows of days 0 … n-1."""
        count = int(days.max()) + 1
        positive = labels == 1
        winners, winner_days = probabilities[positive], days[positive]
        won = np.zeros((count, count))
        for other in range(count):
            losers = np.sort(probabilities[~positive & (days == other)])
            below = np.searchsorted(losers, winners, "left") + np.searchsorted(losers, winners, "right")
            won[:, other] = np.bincount(winner_days, weights=below / 2, minlength=count)
        negatives = np.bincount(days[~positive], minlength=count).astype(np.float64)
        return cls(won, np.bincount(winner_days, minlength=count).astype(np.float64), negatives)

    def auc(self) -> float:
        """AUC over all days."""
        return float(self.aucs(np.ones((1, len(self.positives))))[0])

    def aucs(self, weights: Matrix) -> Matrix:
        """AUC for each row of day weights [rounds, days]; NaN where a draw has one class only."""
        pairs = (weights @ self.positives) * (weights @ self.negatives)
        with np.errstate(invalid="ignore", divide="ignore"):
            answer: Matrix = np.einsum("ra,ab,rb->r", weights, self.won, weights, optimize=True) / pairs
        return answer


def draws(days: int, rounds: int, seed: int) -> Matrix:
    """Day weights [rounds, days]: how often each day is drawn when `days` are drawn with replacement."""
    return np.random.default_rng(seed).multinomial(days, np.full(days, 1 / days), size=rounds).astype(np.float64)


def groups(column: pa.ChunkedArray) -> Iterator[tuple[str, npt.NDArray[np.bool_]]]:
    """Each value of a column, in order, with the mask of its rows."""
    values, codes = np.unique(column.to_numpy().astype(str), return_inverse=True)
    for place, value in enumerate(values):
        yield str(value), codes == place
