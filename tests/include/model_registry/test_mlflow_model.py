"""A version is an MLflow model: whoever has MLflow loads, serves and judges it without anything of ours."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from datetime import date, timedelta
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

from include.model_registry.mlflow_model import REQUIREMENTS, save
from include.step import Context
from include.steps.register import RegisterArguments, register
from include.steps.score import ScoreArguments, score
from include.storage.lake import Dataset, Layer
from tests.factory import features
from tests.include import learning
from tests.include.learning import FEATURES, GATES, KIOSKS, LAST, PACKAGE, RATES, WEATHER
from tests.portable_files import portable_bytes

pytestmark = pytest.mark.slow

NEXT = LAST + timedelta(days=1)
DAY = date(2013, 10, 2)

ALONE = """
import json, sys
import mlflow, pandas

mlflow.set_tracking_uri(sys.argv[1])
model = mlflow.pyfunc.load_model("models:/ice_cream@champion")
answers = model.predict(pandas.read_json(sys.argv[2], dtype={"forecast": float, "sold_out_rate": float}))
ours = {"formats", "include", "serving", "tests"} & {name.partition(".")[0] for name in sys.modules}
print(json.dumps({"answers": answers["probability"].tolist(), "ours": sorted(ours)}))
"""


@pytest.fixture
def night(tmp_path: Path, empty_registry: Path) -> Context:
    """A night whose champion has predicted the next day."""
    url = f"sqlite:///{shutil.copy(empty_registry, tmp_path / 'mlflow.db')}"
    made = learning.context(tmp_path, url, candidates=(WEATHER, RATES), gates=GATES)
    learning.fill(made.lake, last=NEXT)
    learning.night(made, LAST)
    register(made, RegisterArguments.model_validate({"use_case": PACKAGE, "date": LAST}))
    known = made.lake.read(FEATURES.on(NEXT))
    at_one = pa.array([pd.Timestamp(NEXT, tz="UTC")] * KIOSKS, pa.timestamp("us", "UTC"))
    made.lake.publish(FEATURES.on(NEXT), {"rows.parquet": known.append_column("as_of", at_one)}, force=True)
    made.lake.publish(Dataset(Layer.RAW, "plans").on(NEXT), {"rows.parquet": known})
    score(made, ScoreArguments.model_validate({"use_case": PACKAGE, "date": LAST}))
    return made


@pytest.mark.stack
def test_the_champion_loaded_by_mlflow_alone_gives_the_published_predictions(night: Context, tmp_path: Path) -> None:
    published = night.lake.read(Dataset(Layer.PREDICTIONS, "morning").on(NEXT))
    rows = night.lake.read(FEATURES.on(NEXT)).to_pandas().set_index("kiosk_day").loc[published["kiosk_day"].to_pylist()]
    rows[["forecast", "sold_out_rate"]].to_json(tmp_path / "rows.json", orient="records")
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()

    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    argv = [sys.executable, "-c", ALONE, night.settings.require("tracking_url"), str(tmp_path / "rows.json")]
    told = subprocess.run(argv, cwd=elsewhere, env=environment, capture_output=True, text=True, check=True)

    found = json.loads(told.stdout.splitlines()[-1])
    assert found["ours"] == []
    np.testing.assert_allclose(found["answers"], published["probability"].to_numpy(), rtol=0, atol=1e-6)
    assert len(set(found["answers"])) > KIOSKS / 2


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
