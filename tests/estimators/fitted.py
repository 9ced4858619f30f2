"""Any estimator fitted on a small problem of each task, and its file beside it."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date
from typing import Any

import numpy as np

from formats.portable_model import PortableModel
from include.modelling import portable
from include.modelling.estimators.estimator import Estimating, LearningProblem, fit
from include.modelling.inputs import Input, Matrix
from include.modelling.portable import Origin
from include.modelling.recipe import Recipe
from include.modelling.tasks.binary import BinaryTask
from include.modelling.tasks.learning_task import LearningTask
from include.modelling.tasks.multiclass import MulticlassTask
from include.modelling.tasks.regression import RegressionTask

TASKS: tuple[LearningTask, ...] = (BinaryTask(), MulticlassTask(("a", "b", "c", "never seen")), RegressionTask())
INPUTS = tuple(Input(f"input_{number}") for number in range(4))


@dataclass(frozen=True)
class Fitted:
    """A model, its file's bytes, and the rows that it was fitted on."""

    model: Estimating
    content: bytes
    matrix: Matrix

    def prove(self) -> None:
        """Hold the file to the model on every row, and to what a server asks of a file."""
        portable.prove(self.content, self.matrix, self.model.predict(self.matrix), self.model.tolerance)
        PortableModel.load(self.content).self_test()


def fitted(estimator: str, task: LearningTask, *, missing: float = 0.0, **parameters: Any) -> Fitted:
    """The estimator after 800 rows."""
    random = np.random.default_rng(1)
    matrix = random.normal(size=(800, len(INPUTS))) * (1, 10, 100, 1)
    number = 3 * matrix[:, 0] + matrix[:, 2] / 50 + random.normal(size=800)
    labels: dict[str, Matrix] = {
        "binary": (number > 0).astype(np.float64),
        "multiclass": np.digitize(number, [-2, 2]).astype(np.float64),
        "regression": number,
    }
    matrix[random.random(matrix.shape) < missing] = np.nan
    recipe = Recipe("any", estimator, tuple(each.name for each in INPUTS), parameters)
    model = fit(recipe, LearningProblem(task, INPUTS, recipe.seed), matrix, labels[task.name])
    origin = Origin("demo", "id", recipe, date(2026, 5, 1), task.card(labels[task.name]))
    return Fitted(model, portable.write(model, INPUTS, origin), matrix)
