"""Whatever dialect a row is asked in, its answer is the same, to the last bit."""

from __future__ import annotations

from datetime import date
from pathlib import Path
from typing import Any

import pytest
from fastapi.testclient import TestClient

from include.model_registry.mlflow_model import save
from include.modelling.tasks.binary import BinaryTask
from include.modelling.tasks.learning_task import LearningTask
from include.modelling.tasks.multiclass import MulticlassTask
from include.modelling.tasks.regression import RegressionTask
from tests.factory import features
from tests.portable_files import portable_bytes
from tests.serving.dialects.dialects import deploy, everywhere, scoring_bodies, serving
from tests.serving.test_tasks import CLASSES, ROWS, file

pytestmark = pytest.mark.slow

GAPS: list[dict[str, Any]] = [
    {"distance": 1.5, "hour": 2.0, "carrier": "B6"},
    {"distance": None, "hour": 3.0, "carrier": "never seen"},
    {"distance": -3.25, "hour": None, "carrier": None},
]


@pytest.mark.parametrize("task", [BinaryTask(), MulticlassTask(CLASSES), RegressionTask()], ids=lambda task: task.name)
def test_every_task_is_answered_alike(task: LearningTask, tmp_path: Path) -> None:
    with serving(tmp_path) as client:
        deploy(client, tmp_path, file(task), "1")

        found = everywhere(client, ROWS)

    own = found.pop("own")
    assert len(own) == len(ROWS)
    assert {name for name, answers in found.items() if answers != own} == set()


def test_what_is_not_known_is_answered_alike(tmp_path: Path) -> None:
    with serving(tmp_path) as client:
        deploy(client, tmp_path, portable_bytes(), "1")

        found = everywhere(client, GAPS)

    own = found.pop("own")
    assert {name for name, answers in found.items() if answers != own} == set()


def test_mlflows_own_server_answers_alike(tmp_path: Path) -> None:
    import mlflow.pyfunc
    from mlflow.pyfunc import scoring_server

    save(tmp_path / "mlflow", portable_bytes(), features(date(2013, 10, 2)))
    theirs = TestClient(scoring_server.init(mlflow.pyfunc.load_model(str(tmp_path / "mlflow"))))
    with serving(tmp_path) as client:
        deploy(client, tmp_path, portable_bytes(), "1")
        for name, (content, headers) in scoring_bodies(GAPS).items():
            answers = [each.post("/invocations", content=content, headers=headers) for each in (client, theirs)]
            ours, other = (answer.raise_for_status().json() for answer in answers)
            assert ours == other, name
