"""LightGBM and XGBoost as estimators: `make test-estimators` installs them, `make test` does not collect this file."""

from __future__ import annotations

import pytest

from include.modelling.tasks.learning_task import LearningTask
from tests.estimators.fitted import TASKS, fitted

KIND = {"binary": "Classifier", "multiclass": "Classifier", "regression": "Regressor"}
LIBRARIES = {"lightgbm.LGBM": {"n_estimators": 20, "verbose": -1}, "xgboost.XGB": {"n_estimators": 20}}


@pytest.mark.parametrize("library", LIBRARIES)
@pytest.mark.parametrize("task", TASKS, ids=lambda task: task.name)
@pytest.mark.parametrize("missing", [0.0, 0.2])
def test_its_file_answers_every_row_as_it_does_and_is_the_same_each_time(
    library: str, task: LearningTask, missing: float
) -> None:
    name = library + KIND[task.name]

    made = fitted(name, task, missing=missing, **LIBRARIES[library])

    made.prove()
    assert fitted(name, task, missing=missing, **LIBRARIES[library]).content == made.content
