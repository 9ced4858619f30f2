"""Predictions for what is due within the next hours."""

from __future__ import annotations

import json
import shutil
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any, cast

import pyarrow as pa
import pytest
from pydantic import SecretStr

from formats.portable_model import PortableModel
from include.errors import DataError, SettingsError, SkippedError
from include.settings import Settings
from include.step import Result
from include.steps.score_intraday import ScoreIntradayArguments, score_intraday
from include.storage.lake import Dataset, Layer
from tests.factory import DAY, USE_CASE, Factory, features, schedule
from tests.serving_process import ServingProcess

MOMENT = datetime(2013, 10, 1, 10, 35, tzinfo=UTC)
BEFORE = DAY - timedelta(days=1)
ROWS = 30
pytestmark = pytest.mark.stack


@pytest.fixture
def factory(tmp_path: Path, empty_registry: Path) -> Factory:
    """Lake and registry, both empty; nothing here asks for tables or a server."""
    tracking = tmp_path / "mlflow.db"
    shutil.copy(empty_registry, tracking)
    settings = Settings(
        lake=str(tmp_path / "lake"),
        artifacts=str(tmp_path / "artifacts"),
        tracking_url=SecretStr(f"sqlite:///{tracking}"),
    )
    return Factory(settings, cast(ServingProcess, None))


def asked(moment: datetime = MOMENT, *, horizon: str = "two_hours", force: bool = False) -> ScoreIntradayArguments:
    return ScoreIntradayArguments(
        use_case=USE_CASE, date=DAY, horizon=horizon, moment=moment, ahead=timedelta(hours=2), force=force
    )


def due(factory: Factory, day: date = DAY) -> pa.Table:
    """Publish the moment's features: what the feature step makes of the flights that are due."""
    rows = features(day, ROWS).drop_columns("carrier").join(schedule(day, ROWS), "flight_id").sort_by("flight_id")
    factory.lake.publish(asked().partition(Layer.FEATURES), {"features.parquet": rows})
    return rows


def predictions(factory: Factory) -> pa.Table:
    return factory.lake.read(asked().partition(Layer.PREDICTIONS))


def run(factory: Factory, **about: Any) -> Result:
    return score_intraday(factory.context, asked(**about))


def test_each_flight_that_is_due_gets_the_probability_of_its_own_features(factory: Factory) -> None:
    rows = due(factory)
    version = factory.version(BEFORE)

    result = run(factory)

    found = predictions(factory)
    assert result.rows == {"predictions/intraday/two_hours/moment=20131001T1035Z": ROWS}
    assert found["flight_id"].to_pylist() == rows["flight_id"].to_pylist()
    assert set(found["model_version"].to_pylist()) == {version.version}
    content = factory.lake.get(f"models/{version.sha256}.onnx")
    model = PortableModel.load(content, sha256=version.sha256, name="model")
    expected = model.rows(rows.select(["distance", "hour", "carrier"]).to_pylist())
    assert found["probability"].to_pylist() == pytest.approx(list(expected), abs=1e-12)
    assert len(set(expected)) > 5


def test_the_columns_are_those_of_the_nights_predictions(factory: Factory) -> None:
    due(factory)
    factory.version(BEFORE)

    run(factory)

    assert predictions(factory).column_names == [
        "flight_id",
        "carrier",
        "flight",
        "tailnum",
        "origin",
        "dest",
        "scheduled_departure",
        "as_of",
        "probability",
        "model_version",
    ]


def test_what_serving_looks_up_is_published_beside_them(factory: Factory) -> None:
    rows = due(factory)
    factory.version(BEFORE)

    run(factory)

    body = json.loads(factory.lake.read_file(asked().partition(Layer.LOOKUPS), "lookup.json"))
    assert body["predictions"]["flight_id"] == rows["flight_id"].to_pylist()
    assert body["predictions"]["probability"] == predictions(factory)["probability"].to_pylist()
    assert body["tables"]["readings"]["known_at"] == ["2013-10-01T04:51:00Z"] * 3


def test_a_version_that_has_seen_the_day_does_not_predict_it(factory: Factory) -> None:
    due(factory)
    yesterdays = factory.version(BEFORE)
    factory.version(DAY)

    run(factory)

    assert set(predictions(factory)["model_version"].to_pylist()) == {yesterdays.version}


def test_a_retry_changes_nothing_and_force_does_it_again(factory: Factory) -> None:
    due(factory)
    first = factory.version(BEFORE - timedelta(days=1))
    run(factory)
    second = factory.version(BEFORE)

    run(factory)
    assert set(predictions(factory)["model_version"].to_pylist()) == {first.version}

    run(factory, force=True)
    assert set(predictions(factory)["model_version"].to_pylist()) == {second.version}


def test_without_a_version_there_is_nothing_to_do(factory: Factory) -> None:
    due(factory)
    with pytest.raises(SkippedError, match="no approved version"):
        run(factory)


def test_without_features_it_says_which_step_comes_first(factory: Factory) -> None:
    factory.version(BEFORE)
    factory.lake.publish(Dataset(Layer.RAW, "schedule").on(DAY), {"rows.parquet": schedule(DAY, ROWS)})
    with pytest.raises(DataError, match="features/intraday/two_hours/moment=20131001T1035Z"):
        run(factory)


def test_a_moment_that_has_not_come_is_refused(factory: Factory) -> None:
    with pytest.raises(SettingsError, match="in the future"):
        score_intraday(factory.context, asked(datetime.now(UTC) + timedelta(hours=1)))


def test_a_horizon_that_is_none_is_refused(factory: Factory) -> None:
    with pytest.raises(SettingsError, match="'weekly' is none of nightly, two_hours"):
        score_intraday(factory.context, asked(horizon="weekly"))
