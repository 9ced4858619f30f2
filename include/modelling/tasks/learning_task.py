"""What the tasks have in common: labels and their check, figures, the comparison by day, the plot, and the card."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from formats.task import Task
from include.modelling.inputs import Matrix

Days = npt.NDArray[np.intp]


@dataclass(frozen=True)
class LabelsRead:
    """A column of labels as numbers; `wrong` marks those that are none, and `told` says what is wrong with them."""

    values: Matrix
    wrong: npt.NDArray[np.bool_]
    told: str


class LearningTask(ABC):
    """One task. Labels are float64 [N], answers what its models predict: float64 [N], or [N, classes].

    - `labelled` says what a label is, `alike` what rows are of when all have the same label.
    - `metric` names the figure by which candidates are compared, `shown` it in words; `direction` is 1 where more of it
      is better, else -1. `compared` says what a difference is.
    - `error` names the figure that the gates' `max_error` limits, `erring` it in words.
    - `kept` are the figures that a step reports, `sliced` those that MLflow keeps of a slice.
    - `predicted` names the columns of predictions, `curve` the plot of a horizon.
    """

    name: ClassVar[Task]
    labelled: ClassVar[str]
    alike: ClassVar[str]
    metric: ClassVar[str]
    shown: ClassVar[str]
    direction: ClassVar[int]
    compared: ClassVar[str]
    error: ClassVar[str]
    erring: ClassVar[str]
    kept: ClassVar[tuple[str, ...]]
    sliced: ClassVar[tuple[str, ...]]
    predicted: ClassVar[tuple[str, ...]]
    curve: ClassVar[str]
    gates: ClassVar[type[Any]]
    classes: tuple[str, ...] = ()

    def seen(self, given: pa.Array) -> LearningTask:
        """The task once these labels are known: it may take its classes from them."""
        return self

    def judged(self, holdout: pa.Table) -> LearningTask:
        """The task of a hold-out: it may take its classes from the answers."""
        return self

    @abstractmethod
    def read(self, given: pa.Array) -> LabelsRead:
        """Labels as `label.py` answers them. Raises `DataError` for a type that is no label's."""

    def written(self, labels: Matrix) -> pa.Array:
        """Labels as a hold-out shows them."""
        return pa.array(labels)

    def labels(self, written: pa.ChunkedArray) -> Matrix:
        """Labels from `written`."""
        values: Matrix = written.to_numpy()
        return values

    def columns(self, answers: Matrix) -> dict[str, pa.Array]:
        """Answers as columns of predictions."""
        return {self.predicted[0]: pa.array(answers, pa.float64())}

    def answers(self, table: pa.Table) -> Matrix:
        """Answers from `columns`."""
        values: Matrix = table[self.predicted[0]].to_numpy()
        return values

    @abstractmethod
    def spread(self, table: pa.Table) -> Sequence[tuple[str, int]]:
        """How many rows of `columns` have each answer, or are in each range of answers; all rows are in one."""

    @abstractmethod
    def score(self, labels: Matrix, answers: Matrix) -> Any | None:
        """The figures, a dataclass with `rows`; None where all labels are the same."""

    @abstractmethod
    def compare(
        self, labels: Matrix, own: Matrix, other: Matrix, days: Days, weights: Matrix
    ) -> tuple[float, Matrix] | None:
        """How much better `own` is, and the same for each draw of days (weights [rounds, days]); None as `score`."""

    def gap(self, difference: float) -> str:
        """A difference as people read it."""
        return f"{difference:+.3f}"

    @abstractmethod
    def curves(self, labels: Matrix, answers: Matrix) -> Sequence[Any]:
        """The points of the plot, dataclasses."""

    @abstractmethod
    def plot(self, curves: Mapping[str, Sequence[Any]]) -> bytes:
        """The plot as PNG, a line for each horizon."""

    def card(self, labels: Matrix) -> dict[str, Any]:
        """What a model file says of its task; a file that says nothing is a binary model's."""
        return {}
