"""A server answers each task in its own way, compares two versions by it, and refuses a version of another."""

from __future__ import annotations

import time
from collections.abc import Iterator
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fastapi.testclient import TestClient
from pydantic import SecretStr

from formats.portable_model import PortableModel
from include.modelling import portable
from include.modelling.estimators.estimator import LearningProblem, fit
from include.modelling.inputs import Input, Matrix
from include.modelling.portable import Origin
from include.modelling.recipe import Estimator, Recipe
from include.modelling.tasks.binary import BinaryTask
from include.modelling.tasks.learning_task import LearningTask
from include.modelling.tasks.multiclass import MulticlassTask
from include.modelling.tasks.regression import RegressionTask
from serving.app import create_app
from serving.settings import ServingSettings
from tests.portable_files import write
from tests.serving_process import TOKEN
from tests.waiting import PATIENCE

pytestmark = pytest.mark.slow

INPUTS = (Input("distance"), Input("hour"))
ROWS = [{"distance": round(number / 20, 2), "hour": number % 24} for number in range(-60, 60)]
PLAN = {"shadow_rows": 100, "share": 0, "idle_seconds": 10, "limits": {"slower_seconds": 5}}
CLASSES = ("early", "late", "on time")


def labels(task: LearningTask, matrix: Matrix) -> Matrix:
    """What the first input says, with noise."""
    number = matrix[:, 0] * 10 + np.random.default_rng(1).normal(0, 1, len(matrix))
    return {
        "binary": (number > 0).astype(float),
        "multiclass": np.digitize(number, [-8, 8]).astype(float),
        "regression": number,
    }[task.name]


def file(task: LearningTask, *, seed: int = 1, shift: float = 0.0) -> bytes:
    """A model of that task; with a shift it sees every row elsewhere than it is."""
    matrix = np.random.default_rng(seed).normal(size=(600, 2))
    matrix[:, 1] = np.random.default_rng(seed).integers(0, 24, 600)
    wanted = labels(task, matrix + shift)
    recipe = Recipe("trees", Estimator.HIST_GRADIENT_BOOSTING, ("distance", "hour"), {"max_iter": 10}, seed=seed)
    model = fit(recipe, LearningProblem(task, INPUTS, seed), matrix, wanted)
    return portable.write(model, INPUTS, Origin("demo", "id", recipe, date(2026, 5, 1), task.card(wanted)))


class Server:
    """A server in this process."""

    def __init__(self, client: TestClient, folder: Path) -> None:
        self.client = client
        self.folder = folder

    def deploy(self, content: bytes, version: str, **more: Any) -> Any:
        uri, sha256 = write(self.folder, content)
        wish = {"model_uri": uri, "sha256": sha256, "version": version, "use_case": "demo", **more}
        return self.client.post("/admin/deployments", json=wish, headers={"Authorization": f"Bearer {TOKEN}"})

    def rolled_out(self, content: bytes, version: str) -> dict[str, Any]:
        """How a rollout ended."""
        assert self.deploy(content, version, rollout=PLAN, rows=ROWS).status_code == 202
        deadline = time.monotonic() + PATIENCE
        while (found := self.client.get("/v1/deployments/current").json()["rollout"])["phase"] in ("none", "shadow"):
            assert time.monotonic() < deadline, "the rollout never ended"
        ended: dict[str, Any] = found
        return ended


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    with TestClient(create_app(ServingSettings(state=tmp_path / "state", token=SecretStr(TOKEN)))) as client:
        yield Server(client, tmp_path / "models")


@pytest.mark.parametrize("task", [BinaryTask(), MulticlassTask(CLASSES), RegressionTask()], ids=lambda task: task.name)
def test_a_version_is_served_replaced_by_a_good_one_and_kept_from_a_bad_one(task: LearningTask, server: Server) -> None:
    content = file(task)
    assert server.deploy(content, "1").status_code == 200

    model = PortableModel.load(content)
    answer = server.client.post("/v1/predict", json={"rows": ROWS}).json()
    columns = model.answers.columns(model.rows(ROWS))
    assert answer.pop("model_version") == "1"
    assert list(answer.values()) == list(columns.values())

    good = server.rolled_out(file(task, seed=2), "2")
    assert (good["phase"], good["reason"]) == ("promoted", "")
    assert good["metrics"]["shadow"]["rows"] >= PLAN["shadow_rows"]

    lopsided = server.rolled_out(file(task, shift=2.0), "3")
    assert lopsided["phase"] == "rolled_back"
    assert "its mean answer moved by" in lopsided["reason"]
    assert server.client.get("/v1/model").json()["version"] == "2"


def test_the_document_says_what_is_answered(server: Server) -> None:
    server.deploy(file(MulticlassTask(CLASSES)), "1")

    schemas = server.client.get("/openapi.json").json()["components"]["schemas"]

    assert set(schemas["ClassAnswer"]["properties"]) == {"model_version", "classes", "probabilities"}
    assert "PredictAnswer" not in schemas


def test_a_version_of_another_task_is_refused(server: Server) -> None:
    server.deploy(file(BinaryTask()), "1")

    refused = server.deploy(file(RegressionTask()), "2", rollout=PLAN)

    assert refused.status_code == 422
    assert "is of task regression, and version 1 in service of task binary" in refused.json()["detail"]
    assert server.client.get("/v1/model").json()["version"] == "1"


def test_a_class_that_only_the_new_version_knows_is_compared_too(server: Server) -> None:
    server.deploy(file(MulticlassTask(CLASSES)), "1")

    ended = server.rolled_out(file(MulticlassTask((*CLASSES, "diverted")), seed=2), "2")

    assert ended["phase"] == "promoted"
    answer = server.client.post("/v1/predict", json={"rows": ROWS[:1]}).json()
    assert list(answer["probabilities"][0]) == [*CLASSES, "diverted"]
