"""A server answers each task in its own way, compares two versions by it, and refuses a version of another."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fastapi.testclient import TestClient

from formats.portable_model import PortableModel
from include.deployment.conductor import Outcome, RejectedError
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
from tests.releases import ReleasesFolder
from tests.waiting import until

pytestmark = pytest.mark.slow

INPUTS = (Input("distance"), Input("hour"))
ROWS = [{"distance": round(number / 20, 2), "hour": number % 24} for number in range(-60, 60)]
PLAN: dict[str, Any] = {"shadow_rows": 100, "share": 0, "idle_seconds": 0.1, "limits": {"slower_seconds": 5}}
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
    """A server in this process, and the releases that it follows."""

    def __init__(self, client: TestClient, folder: Path) -> None:
        self.client = client
        self.releases = ReleasesFolder(folder / "releases")
        self._files = folder / "models"

    def deploy(self, content: bytes, version: str) -> None:
        self.releases.deploy(*write(self._files, content), version, "demo")
        until(lambda: self.client.get("/v1/model").status_code == 200)

    def roll_out(self, content: bytes, version: str) -> Outcome:
        """Release a version after a trial on sample rows."""
        return self.releases.roll_out(*write(self._files, content), version, PLAN, ROWS, "demo")


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    settings = ServingSettings(state=tmp_path / "state", releases=str(tmp_path / "releases"), poll_seconds=0.05)
    with TestClient(create_app(settings)) as client:
        yield Server(client, tmp_path)


@pytest.mark.parametrize("task", [BinaryTask(), MulticlassTask(CLASSES), RegressionTask()], ids=lambda task: task.name)
def test_a_version_is_served_replaced_by_a_good_one_and_kept_from_a_bad_one(task: LearningTask, server: Server) -> None:
    content = file(task)
    server.deploy(content, "1")

    model = PortableModel.load(content)
    answer = server.client.post("/v1/predict", json={"rows": ROWS}).json()
    columns = model.answers.columns(model.rows(ROWS))
    assert answer.pop("model_version") == "1"
    assert list(answer.values()) == list(columns.values())

    good = server.roll_out(file(task, seed=2), "2")
    assert good.metrics["shadow"]["rows"] >= PLAN["shadow_rows"]
    assert server.client.get("/v1/model").json()["version"] == "2"

    with pytest.raises(RejectedError, match="its mean answer moved by"):
        server.roll_out(file(task, shift=2.0), "3")
    assert server.client.get("/v1/model").json()["version"] == "2"


def test_the_document_says_what_is_answered(server: Server) -> None:
    server.deploy(file(MulticlassTask(CLASSES)), "1")

    schemas = server.client.get("/openapi.json").json()["components"]["schemas"]

    assert set(schemas["ClassAnswer"]["properties"]) == {"model_version", "classes", "probabilities"}
    assert "PredictAnswer" not in schemas


def test_a_class_that_only_the_new_version_knows_is_compared_too(server: Server) -> None:
    server.deploy(file(MulticlassTask(CLASSES)), "1")

    server.roll_out(file(MulticlassTask((*CLASSES, "diverted")), seed=2), "2")

    answer = server.client.post("/v1/predict", json={"rows": ROWS[:1]}).json()
    assert list(answer["probabilities"][0]) == [*CLASSES, "diverted"]
