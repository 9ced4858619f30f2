"""A number, judged by its root mean squared error."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa

from formats.task import Task
from include.modelling.inputs import Matrix
from include.modelling.plots import residual_plot
from include.modelling.recipe import RegressionGates
from include.modelling.tasks.binary import TENTHS, numbers, ranges
from include.modelling.tasks.learning_task import Days, LabelsRead, LearningTask

PREDICTION = "prediction"
STEPS = 20
"""Steps of the label's quantiles in a model's card."""
BINS = 10


@dataclass(frozen=True)
class ErrorScores:
    """Figures of one set of predictions, in the label's unit; `bias` is mean prediction minus mean label.

    `relative_bias` is its size in standard deviations of the label.
    """

    rows: int
    rmse: float
    mae: float
    r2: float
    bias: float
    relative_bias: float


@dataclass(frozen=True)
class ResidualBin:
    """One of the equal-count groups by rising prediction: the mean of both, and the middle half of the residuals."""

    rows: int
    predicted: float
    observed: float
    low: float
    high: float


class RegressionTask(LearningTask):
    """Labels and answers are finite numbers."""

    name = Task.REGRESSION
    labelled, alike = "a number", "of one value"
    metric, shown, direction = "rmse", "RMSE", -1
    compared = "RMSE lower by"
    kept = ("rmse", "mae", "r2", "bias")
    sliced = ("rmse", "mae", "bias", "rows")
    predicted = (PREDICTION,)
    error, erring = "relative_bias", "bias in standard deviations"
    curve = "residuals"
    gates = RegressionGates

    def read(self, given: pa.Array) -> LabelsRead:
        """Finite numbers. Raises `DataError` for another type."""
        values = numbers(given, self.labelled)
        return LabelsRead(values, ~np.isfinite(values), "is no finite number; leave such a row out")

    def spread(self, table: pa.Table) -> Sequence[tuple[str, int]]:
        """Rows by tenths of the way from the least prediction to the greatest."""
        values = self.answers(table)
        if len(np.unique(values)) < 2:
            return [(f"{value:.4g}", values.size) for value in values[:1]]
        return ranges(values, np.linspace(values.min(), values.max(), TENTHS + 1))

    def score(self, labels: Matrix, answers: Matrix) -> ErrorScores | None:
        """The figures; None where all labels are equal, so that there is nothing to explain."""
        if labels.size == 0 or labels.min() == labels.max():
            return None
        errors, spread = answers - labels, float(labels.std())
        squares = float(np.mean(errors**2))
        bias = float(errors.mean())
        return ErrorScores(
            rows=int(labels.size),
            rmse=squares**0.5,
            mae=float(np.abs(errors).mean()),
            r2=1 - squares / spread**2,
            bias=bias,
            relative_bias=abs(bias) / spread,
        )

    def compare(
        self, labels: Matrix, own: Matrix, other: Matrix, days: Days, weights: Matrix
    ) -> tuple[float, Matrix] | None:
        """By which share of the other's RMSE the own one is lower."""
        if labels.size == 0 or labels.min() == labels.max():
            return None
        count = weights.shape[1]
        rows = np.bincount(days, minlength=count).astype(np.float64)
        mine, theirs = (np.bincount(days, weights=(each - labels) ** 2, minlength=count) for each in (own, other))

        def lower(drawn: Matrix) -> Matrix:
            with np.errstate(invalid="ignore", divide="ignore"):
                rmse = [np.sqrt(drawn @ squares / (drawn @ rows)) for squares in (mine, theirs)]
                return np.where(rmse[1] > 0, 1 - rmse[0] / rmse[1], 0.0 - (rmse[0] > 0))

        return float(lower(np.ones((1, count)))[0]), lower(weights)

    def gap(self, difference: float) -> str:
        """In percent of the other's RMSE."""
        return f"{difference:+.1%}"

    def curves(self, labels: Matrix, answers: Matrix) -> Sequence[ResidualBin]:
        """Equal-count groups by rising prediction, with what was observed in them."""
        order = np.argsort(answers, kind="stable")
        found = []
        for part in np.array_split(order, BINS):
            if len(part):
                low, high = np.quantile(labels[part] - answers[part], [0.25, 0.75])
                means = float(answers[part].mean()), float(labels[part].mean())
                found.append(ResidualBin(len(part), *means, float(low), float(high)))
        return found

    def plot(self, curves: Mapping[str, Sequence[ResidualBin]]) -> bytes:
        """Residuals by prediction."""
        return residual_plot(curves)

    def card(self, labels: Matrix) -> dict[str, Any]:
        """Its task, and the quantiles of its labels."""
        quantiles = np.quantile(labels, np.linspace(0, 1, STEPS + 1))
        return {"task": str(self.name), "quantiles": quantiles.tolist()}
