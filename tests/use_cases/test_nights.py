"""Whole nights of use cases of every task, from their data to published predictions, decided by gates."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pytest
from pyspark.sql import SparkSession

from include.step import Context
from include.storage.lake import Dataset, Layer
from tests.use_cases.nights import night, opened

pytestmark = pytest.mark.spark


@dataclass(frozen=True)
class Night:
    """A use case after its night of a day: the published predictions, and the decision."""

    context: Context
    day: date

    @property
    def trials(self) -> dict[str, Any]:
        file = self.context.lake.read_file(Dataset(Layer.DECISIONS, "champion").on(self.day), "decision.json")
        decision: dict[str, Any] = json.loads(file)
        assert decision["promoted"]
        return dict(decision["trials"]) | {"winner": decision["trials"][decision["challenger"]]}

    @property
    def examples(self) -> pa.Table:
        return self.context.lake.read(Dataset(Layer.RAW, self.context.use_case.spec.examples).on(self.target))

    @property
    def predictions(self) -> pa.Table:
        [horizon] = self.context.use_case.spec.horizons
        return self.context.lake.read(Dataset(Layer.PREDICTIONS, horizon.name).on(self.target))

    @property
    def target(self) -> date:
        return self.day + timedelta(days=self.context.use_case.spec.horizons[0].day_offset)


@pytest.fixture(scope="module")
def run(spark: SparkSession, tmp_path_factory: pytest.TempPathFactory) -> Callable[[str, date], Night]:
    """Runs a night on a lake and a registry that all of them share."""
    folder: Path = tmp_path_factory.mktemp("nights")

    def made(name: str, day: date) -> Night:
        context = opened(f"tests.use_cases.{name}", folder)
        assert night(context, day)["register"].facts["approved"]
        return Night(context, day)

    return made


def test_minutes_of_delay_are_predicted(run: Callable[[str, date], Night]) -> None:
    done = run("arrival_delay", date(2013, 1, 20))

    assert done.trials["winner"]["rmse"] < 0.8 * done.trials["as_late_as_others"]["rmse"]
    assert done.predictions.column_names == ["flight_id", "as_of", "prediction", "model_version"]
    assert done.predictions["flight_id"].to_pylist() == done.examples["flight_id"].to_pylist()
    assert pc.all(pc.is_finite(done.predictions["prediction"])).as_py()


def test_early_on_time_or_late_is_predicted(run: Callable[[str, date], Night]) -> None:
    done = run("arrival_class", date(2013, 1, 20))

    assert done.trials["winner"]["macro_f1"] > done.trials["class_shares"]["macro_f1"] + 0.1
    assert done.predictions.column_names == ["flight_id", "as_of", "class", "probabilities", "model_version"]
    assert done.predictions["flight_id"].to_pylist() == done.examples["flight_id"].to_pylist()
    for row in done.predictions.to_pylist():
        told = dict(row["probabilities"])
        assert list(told) == ["early", "late", "on time"]
        assert sum(told.values()) == pytest.approx(1)
        assert told[row["class"]] == max(told.values())


def test_every_hour_of_tomorrow_is_predicted(run: Callable[[str, date], Night]) -> None:
    done = run("hourly_temperature", date(2013, 7, 20))

    assert done.trials["winner"]["rmse"] < done.trials["like_yesterday"]["rmse"]
    assert done.predictions["hour_id"].to_pylist() == done.examples["hour_id"].to_pylist()
    assert done.predictions.num_rows == 3 * 24
    assert pc.all(pc.and_(pc.greater(done.predictions["prediction"], 50), pc.less(done.predictions["prediction"], 120)))
