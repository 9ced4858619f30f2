"""A version is an MLflow model: whoever has MLflow loads, serves and judges it without anything of ours."""

from __future__ import annotations

import json
import shutil
import sys
from datetime import date
from pathlib import Path

import numpy as np
import pytest

from formats.portable_model import ModelInput, PortableModel
from include.model_registry.mlflow_model import REQUIREMENTS, frame, save
from include.modelling import scoring
from tests.empty_environment import NEXT, TOLERANCE, alone, night, published, without_ours
from tests.factory import features
from tests.include.learning import FEATURES, KIOSKS
from tests.portable_files import INPUTS, expected, portable_bytes

pytestmark = pytest.mark.slow

DAY = date(2013, 10, 2)


@pytest.mark.stack
def test_the_champion_loaded_by_mlflow_alone_gives_the_published_predictions(
    tmp_path: Path, empty_registry: Path
) -> None:
    # Given a night whose champion has predicted the next day
    url = f"sqlite:///{shutil.copy(empty_registry, tmp_path / 'mlflow.db')}"
    made = night(tmp_path, url)
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    # When a process that knows nothing of ours loads it by its name
    answers, ours = alone(
        Path(sys.executable), without_ours(url), "ice_cream", made.lake.read(FEATURES.on(NEXT)), elsewhere
    )
    # Then it gives the published predictions
    np.testing.assert_allclose(answers, published(made), rtol=0, atol=TOLERANCE)
    assert len(set(answers)) > KIOSKS / 2
    assert ours == []


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny model over distance, hour and carrier, as MLflow keeps it."""
    made = tmp_path_factory.mktemp("mlflow model") / "model"
    save(made, portable_bytes(), features(DAY))
    return made


def test_it_has_a_signature_an_example_and_pinned_requirements_and_no_pickle(folder: Path) -> None:
    import mlflow

    model = mlflow.models.Model.load(str(folder))

    takes = {column.name: (column.type.name, column.required) for column in model.signature.inputs}
    assert takes == {"distance": ("double", False), "hour": ("double", False), "carrier": ("string", False)}
    assert [(column.name, column.type.name) for column in model.signature.outputs] == [("probability", "double")]
    assert list(model.load_input_example(str(folder))["carrier"]) == ["B6", "ZZ", "B6", "ZZ", "B6"]
    pinned = (folder / "requirements.txt").read_text(encoding="utf-8").split()
    assert [line.partition("==")[0] for line in pinned] == list(REQUIREMENTS)
    assert all(line.partition("==")[2] for line in pinned)
    assert {path.suffix for path in folder.rglob("*") if path.is_file()} == {
        "",
        ".json",
        ".onnx",
        ".py",
        ".txt",
        ".yaml",
    }
    assert (folder / "artifacts" / "model.onnx").read_bytes() == portable_bytes()
    text = (folder / "MLmodel").read_text(encoding="utf-8")
    assert str(Path.cwd()) not in text
    assert "/tmp" not in text


def test_names_whole_numbers_and_nulls_are_answered_as_score_answers_them(folder: Path) -> None:
    import mlflow

    table = features(DAY)
    assert table["distance"].null_count > 0
    model = mlflow.pyfunc.load_model(str(folder))
    numbers = [column.name for column in model.metadata.get_input_schema() if column.type.name == "double"]

    answers = model.predict(table.to_pandas().astype(dict.fromkeys(numbers, "float64")))

    scored = scoring.answers(PortableModel.load(portable_bytes()), table)
    assert answers["probability"].tolist() == scored.tolist()


def test_two_versions_are_loaded_side_by_side(folder: Path, tmp_path: Path) -> None:
    import mlflow

    save(tmp_path / "other", portable_bytes(bias=2.0), features(DAY))
    first, second = (mlflow.pyfunc.load_model(str(one)) for one in (folder, tmp_path / "other"))
    rows = first.input_example

    assert (second.predict(rows)["probability"] > first.predict(rows)["probability"]).all()


def test_a_missing_column_is_named(folder: Path) -> None:
    import mlflow

    rows = mlflow.pyfunc.load_model(str(folder)).input_example.drop(columns=["hour"])

    with pytest.raises(Exception, match="takes columns that are not there: hour"):
        mlflow.pyfunc.load_model(str(folder)).predict(rows)


def test_mlflows_server_answers_as_the_model_does(folder: Path) -> None:
    import mlflow
    from fastapi.testclient import TestClient
    from mlflow.pyfunc import scoring_server

    model = mlflow.pyfunc.load_model(str(folder))
    client = TestClient(scoring_server.init(model))

    asked = json.loads(model.input_example.to_json(orient="records"))
    asked.append({"distance": None, "hour": 2, "carrier": None})
    example = (folder / "serving_input_example.json").read_text(encoding="utf-8")
    for body in (example, json.dumps({"dataframe_records": asked})):
        answer = client.post("/invocations", content=body, headers={"Content-Type": "application/json"})
        assert answer.status_code == 200, answer.text
        found = [each["probability"] for each in answer.json()["predictions"]]
        assert found[:5] == pytest.approx(model.predict(model.input_example)["probability"].tolist(), abs=1e-12)
    assert found[5] == pytest.approx(expected(0, 2, 0), abs=1e-12)


def test_mlflow_evaluates_it(folder: Path, tmp_path: Path, empty_registry: Path) -> None:
    import mlflow

    inputs = [ModelInput.from_dict(column) for column in INPUTS]
    asked = frame(features(DAY), inputs)
    late = np.arange(len(asked)) % 3 == 0

    mlflow.set_tracking_uri(f"sqlite:///{shutil.copy(empty_registry, tmp_path / 'mlflow.db')}")
    try:
        judged = mlflow.models.evaluate(
            str(folder),
            asked.assign(late=late.astype(float)),
            targets="late",
            predictions="probability",
            model_type="regressor",
            evaluator_config={"log_explainer": False},
        )
    finally:
        mlflow.set_tracking_uri(None)

    answers = PortableModel.load(portable_bytes()).columns({str(name): asked[name].to_numpy() for name in asked})
    assert judged.metrics["mean_squared_error"] == pytest.approx(np.mean((answers - late) ** 2))
