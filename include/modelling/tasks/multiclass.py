"""One of several classes: the probability of each, judged by macro F1."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from formats.names import MOST_LISTED
from formats.task import Task
from include.errors import DataError
from include.modelling.evaluation import CalibrationBin, calibration, calibration_error
from include.modelling.inputs import Matrix
from include.modelling.plots import calibration_plot
from include.modelling.recipe import MulticlassGates
from include.modelling.tasks.learning_task import Days, LabelsRead, LearningTask

CLASS, PROBABILITIES = "class", "probabilities"


@dataclass(frozen=True)
class ClassScores:
    """Figures of one set of predictions; `confidence` is the mean probability of the class that was answered."""

    rows: int
    classes: int
    macro_f1: float
    accuracy: float
    log_loss: float
    calibration_error: float
    confidence: float


@dataclass(frozen=True)
class MulticlassTask(LearningTask):
    """Labels are the places of their classes in `classes`, answers the probability of each class.

    Without `classes` they are those that the labels known at the end of D have, in order.
    """

    classes: tuple[str, ...] = ()
    name = Task.MULTICLASS
    labelled, alike = "the name or the number of a class", "of one class"
    metric, shown, direction = "macro_f1", "macro F1", 1
    compared = "macro F1"
    kept = ("macro_f1", "accuracy", "log_loss", "calibration_error")
    sliced = ("macro_f1", "log_loss", "rows")
    predicted = (CLASS, PROBABILITIES)
    error, erring = "calibration_error", "calibration error"
    curve = "calibration"
    gates = MulticlassGates

    def seen(self, given: pa.Array) -> MulticlassTask:
        """The task with the classes of these labels, unless the spec names them."""
        if self.classes:
            return self
        found = sorted(value for value in pc.unique(_texts(given)).to_pylist() if value is not None)
        return MulticlassTask(tuple(found))

    def judged(self, holdout: pa.Table) -> MulticlassTask:
        """The task with the classes of a hold-out's answers, all of which every row has."""
        return MulticlassTask(tuple(name for name, _ in holdout[PROBABILITIES][0].as_py()))

    def read(self, given: pa.Array) -> LabelsRead:
        """Texts or integers. Raises `DataError` for another type."""
        texts = _texts(given)
        places = pc.index_in(texts, value_set=pa.array(self.classes, pa.string()))
        wrong = np.asarray(places.is_null())
        example = f" ({texts.filter(pa.array(wrong))[0]})" if wrong.any() else ""
        known = ", ".join(self.classes[:MOST_LISTED])
        told = f"is none of the classes{example}; answer one of {known}, or correct classes in spec.py"
        return LabelsRead(places.fill_null(-1).to_numpy(zero_copy_only=False).astype(np.float64), wrong, told)

    def written(self, labels: Matrix) -> pa.Array:
        """The classes' names."""
        return pa.array(self.classes, pa.string()).take(pa.array(labels.astype(np.int64)))

    def labels(self, written: pa.ChunkedArray) -> Matrix:
        """The classes' places."""
        return self.read(written.combine_chunks()).values

    def columns(self, answers: Matrix) -> dict[str, pa.Array]:
        """`class`, the likeliest, and `probabilities`, a map from each class."""
        names = pa.array(self.classes, pa.string())
        offsets = pa.array(np.arange(len(answers) + 1) * len(self.classes), pa.int32())
        every = names.take(pa.array(np.tile(np.arange(len(self.classes)), len(answers))))
        return {
            CLASS: names.take(pa.array(answers.argmax(axis=1))),
            PROBABILITIES: pa.MapArray.from_arrays(offsets, every, pa.array(answers.ravel(), pa.float64())),
        }

    def answers(self, table: pa.Table) -> Matrix:
        """`probabilities`, in the order of the classes."""
        items = table[PROBABILITIES].combine_chunks()
        found: Matrix = items.items.to_numpy(zero_copy_only=False).reshape(-1, len(self.classes))
        return found

    def spread(self, table: pa.Table) -> Sequence[tuple[str, int]]:
        """Rows by class, in the order of the classes."""
        counted = pc.value_counts(table[CLASS].combine_chunks())
        rows = {each["values"]: each["counts"] for each in counted.to_pylist()}
        return [(name, rows.pop(name, 0)) for name in self.classes] + sorted(rows.items())

    def score(self, labels: Matrix, answers: Matrix) -> ClassScores | None:
        """The figures; None where all rows are of one class."""
        if labels.size == 0 or labels.min() == labels.max():
            return None
        answered, wanted = answers.argmax(axis=1), labels.astype(np.int64)
        right, confidence = (answered == wanted).astype(np.float64), answers.max(axis=1)
        counts = _confusion(wanted, answered, len(self.classes), np.zeros(len(labels), np.intp))
        tiny = np.finfo(np.float64).eps
        return ClassScores(
            rows=int(labels.size),
            classes=len(np.unique(wanted)),
            macro_f1=float(_macro_f1(counts, np.ones((1, 1)))[0]),
            accuracy=float(right.mean()),
            log_loss=float(-np.log(np.clip(answers[np.arange(len(wanted)), wanted], tiny, 1)).mean()),
            calibration_error=calibration_error(right, confidence),
            confidence=float(confidence.mean()),
        )

    def compare(
        self, labels: Matrix, own: Matrix, other: Matrix, days: Days, weights: Matrix
    ) -> tuple[float, Matrix] | None:
        """The difference in macro F1."""
        if labels.size == 0 or labels.min() == labels.max():
            return None
        wanted, whole = labels.astype(np.int64), np.ones((1, weights.shape[1]))
        mine, theirs = (_confusion(wanted, answers.argmax(axis=1), len(self.classes), days) for answers in (own, other))
        point = _macro_f1(mine, whole)[0] - _macro_f1(theirs, whole)[0]
        return float(point), _macro_f1(mine, weights) - _macro_f1(theirs, weights)

    def curves(self, labels: Matrix, answers: Matrix) -> Sequence[CalibrationBin]:
        """The probability of the class that was answered, and how often it was right."""
        return calibration((answers.argmax(axis=1) == labels).astype(np.float64), answers.max(axis=1))

    def plot(self, curves: Mapping[str, Sequence[CalibrationBin]]) -> bytes:
        """How well the probability of the class that was answered is calibrated."""
        return calibration_plot(curves, "probability of the class answered", "share that was right")

    def card(self, labels: Matrix) -> dict[str, Any]:
        """Its task and classes."""
        return {"task": str(self.name), "classes": list(self.classes)}


def _texts(given: pa.Array) -> pa.Array:
    if pa.types.is_integer(given.type) or pa.types.is_boolean(given.type):
        return given.cast(pa.string())
    if not (pa.types.is_string(given.type) or pa.types.is_large_string(given.type) or pa.types.is_null(given.type)):
        example = given.drop_null()[0]
        raise DataError(
            f"label.py: column label holds {given.type}, such as {example}; answer {MulticlassTask.labelled}"
        )
    return given.cast(pa.string())


def _confusion(wanted: Days, answered: Days, classes: int, days: Days) -> Matrix:
    """For each day how many rows of each class (first) were answered as each class (second)."""
    count = int(days.max()) + 1
    cells = (days * classes + wanted) * classes + answered
    return np.bincount(cells, minlength=count * classes**2).reshape(count, classes, classes).astype(np.float64)


def _macro_f1(counts: Matrix, weights: Matrix) -> Matrix:
    """The mean F1 of the classes that are there or were answered, for each draw of days; NaN where a draw has none."""
    total = np.tensordot(weights[:, : len(counts)], counts, axes=1)
    right = np.diagonal(total, axis1=1, axis2=2)
    both = total.sum(axis=1) + total.sum(axis=2)
    with np.errstate(invalid="ignore"):
        f1 = np.where(both > 0, 2 * right / both, np.nan)
        mean: Matrix = np.nansum(f1, axis=1) / np.maximum((both > 0).sum(axis=1), 1)
    return mean
