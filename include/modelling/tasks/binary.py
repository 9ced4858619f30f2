"""Yes or no: a probability, judged by AUC."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import pyarrow as pa

from formats.task import Task
from include.errors import DataError
from include.modelling.evaluation import CalibrationBin, PairCounts, Scores, calibration, score
from include.modelling.inputs import Matrix
from include.modelling.plots import calibration_plot
from include.modelling.recipe import Gates
from include.modelling.tasks.learning_task import Days, LabelsRead, LearningTask

PROBABILITY = "probability"
TENTHS = 10


class BinaryTask(LearningTask):
    """Labels are 0 and 1, answers the probability of 1."""

    name = Task.BINARY
    labelled, alike = "0 or 1", "of one class"
    metric, shown, direction = "auc", "AUC", 1
    compared = "AUC"
    kept = ("auc", "average_precision", "brier", "log_loss", "calibration_error")
    sliced = ("auc", "brier", "bias", "rows")
    predicted = (PROBABILITY,)
    error, erring = "calibration_error", "calibration error"
    curve = "calibration"
    gates = Gates

    def read(self, given: pa.Array) -> LabelsRead:
        """0, 1, false and true. Raises `DataError` for another type."""
        values = numbers(given, self.labelled)
        wrong = (values != 0) & (values != 1)
        example = f" ({values[wrong][0]:g})" if wrong.any() else ""
        return LabelsRead(values, wrong, f"is neither 0 nor 1{example}; answer 1 for what is predicted, else 0")

    def spread(self, table: pa.Table) -> Sequence[tuple[str, int]]:
        """Rows by tenths of probability."""
        return ranges(self.answers(table), np.linspace(0, 1, TENTHS + 1))

    def score(self, labels: Matrix, answers: Matrix) -> Scores | None:
        """The figures; None where a class is absent."""
        return score(labels, answers)

    def compare(
        self, labels: Matrix, own: Matrix, other: Matrix, days: Days, weights: Matrix
    ) -> tuple[float, Matrix] | None:
        """The difference in AUC."""
        if labels.size == 0 or labels.min() == labels.max():
            return None
        mine, theirs = (PairCounts.of(labels, values, days) for values in (own, other))
        return mine.auc() - theirs.auc(), mine.aucs(weights) - theirs.aucs(weights)

    def curves(self, labels: Matrix, answers: Matrix) -> Sequence[CalibrationBin]:
        """Predicted and observed shares."""
        return calibration(labels, answers)

    def plot(self, curves: Mapping[str, Sequence[CalibrationBin]]) -> bytes:
        """How well probabilities are calibrated."""
        return calibration_plot(curves)


def numbers(given: pa.Array, wanted: str) -> Matrix:
    """A column of numbers or truth values as float64; `DataError` for another type."""
    if pa.types.is_boolean(given.type):
        given = given.cast(pa.int8())
    if not (pa.types.is_integer(given.type) or pa.types.is_floating(given.type) or pa.types.is_null(given.type)):
        raise DataError(f"label.py: column label holds {given.type}, such as {given.drop_null()[0]}; answer {wanted}")
    values: Matrix = given.cast(pa.float64(), safe=False).to_numpy(zero_copy_only=False)
    return np.asarray(values)


def ranges(values: Matrix, edges: Matrix) -> list[tuple[str, int]]:
    """How many values are between two edges each; the last range holds its upper edge too."""
    counts, _ = np.histogram(values, edges)
    return [(f"{low:.4g} to {high:.4g}", int(rows)) for low, high, rows in zip(edges, edges[1:], counts, strict=False)]
