"""A deployment with real parts (lake, PostgreSQL, MLflow, serving process) and tiny models."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from functools import cached_property
from itertools import takewhile
from pathlib import Path
from typing import Any

import pyarrow as pa
from pydantic import SecretStr

from include.model_registry.versions import Alias, Draft, Registry, Role, Version
from include.modelling.recipe import Estimator, Recipe
from include.settings import Settings
from include.step import Context
from include.storage.lake import Dataset, Lake, Layer
from include.use_case import load_use_case
from include.use_cases.flight_delay.lookup import SENSOR
from tests.portable_files import portable_bytes
from tests.releases import ReleasesFolder
from tests.serving_process import ServingProcess

USE_CASE = "include.use_cases.flight_delay"
DAY = date(2013, 10, 1)
ROWS = 120


@dataclass
class Factory:
    """Makes days and versions of flight delay, and knows what is served."""

    settings: Settings
    server: ServingProcess

    @cached_property
    def context(self) -> Context:
        use_case = load_use_case(USE_CASE)
        return Context(self.settings, use_case, Lake.open(self.settings, use_case.name))

    @property
    def lake(self) -> Lake:
        return self.context.lake

    @cached_property
    def registry(self) -> Registry:
        return Registry.open(self.settings, "flight_delay")

    @property
    def releases(self) -> ReleasesFolder:
        return self.server.releases

    @property
    def environment(self) -> dict[str, str]:
        """What a step process is given."""
        values = {
            "LAKE": self.settings.lake,
            "DATABASE_URL": self.settings.require("database_url"),
            "TRACKING_URL": self.settings.require("tracking_url"),
            "SERVING_URL": self.settings.serving_url,
            "RELEASES": self.settings.releases_folder,
        }
        return {f"NIGHTSHIFT_{name}": value for name, value in values.items()}

    def day(self, day: date = DAY, *, rows: int = ROWS, without_features: int = 0) -> None:
        """Publish what score and smoke test of a run of `day` read: its schedule and features, and tomorrow's."""
        for each in (day, day + timedelta(days=1)):
            self.lake.publish(Dataset(Layer.RAW, "schedule").on(each), {"rows.parquet": schedule(each, rows)})
            for horizon in ("nightly", "two_hours"):
                table = features(each, rows - without_features)
                self.lake.publish(Dataset(Layer.FEATURES, horizon).on(each), {"rows.parquet": table})

    def version(
        self, trained_through: date, *, champion: bool = True, approved: bool = True, content: bytes | None = None
    ) -> Version:
        """Register a version whose answers no other one gives; the champion unless told otherwise."""
        bias = (trained_through - date(2013, 9, 1)).days / 50
        content = content or portable_bytes(bias=bias, trained_through=trained_through.isoformat())
        sha256 = hashlib.sha256(content).hexdigest()
        model_uri = self.lake.put(f"models/{sha256}.onnx", content)
        draft = Draft(
            run_key=f"{trained_through}/{sha256}/{len(self.registry.versions())}",
            day=trained_through,
            trained_through=trained_through,
            candidate="tiny",
            recipe=Recipe("tiny", Estimator.LOGISTIC_REGRESSION, ("distance", "hour", "carrier")),
            role=Role.NIGHTLY,
            approved=approved,
            model_uri=model_uri,
            sha256=sha256,
            mlflow_run=self._mlflow_run(),
        )
        version = self.registry.register(draft)
        if champion:
            self.registry.advance(Alias.CHAMPION, version)
        return version

    def served(self) -> str | None:
        """The version that the server says it serves."""
        return self.server.served()

    def events(self) -> list[tuple[str, str]]:
        """What happened since the server was empty, oldest first: event and version."""
        return list(takewhile(lambda one: one != ("withdrawn", ""), self.releases.events()))[::-1]

    def told(self) -> list[tuple[str, str]]:
        """What became of each release."""
        return [one for one in self.events() if one[0] not in ("preparing", "shadow", "canary")]

    def _mlflow_run(self) -> str:
        client = self.registry.client
        experiment = client.get_experiment_by_name("tests")
        number = experiment.experiment_id if experiment else client.create_experiment("tests", self.settings.artifacts)
        return str(client.create_run(number).info.run_id)


def make_factory(folder: Path, database_url: str, tracking_url: str, server: ServingProcess) -> Factory:
    """A factory whose lake lies in a folder."""
    settings = Settings(
        lake=str(folder / "lake"),
        artifacts=str(folder / "artifacts"),
        database_url=SecretStr(database_url),
        tracking_url=SecretStr(tracking_url),
        serving_url=server.url,
        releases=server.releases.place,
    )
    return Factory(settings, server)


def schedule(day: date, rows: int = ROWS) -> pa.Table:
    """A day's schedule, by departure."""
    noon = datetime(day.year, day.month, day.day, 12, tzinfo=UTC)
    body: dict[str, Sequence[Any]] = {
        "flight_id": [flight_id(day, number) for number in range(rows)],
        "date": [day] * rows,
        "carrier": [("AA", "B6", "UA", "ZZ")[number % 4] for number in range(rows)],
        "flight": list(range(1, rows + 1)),
        "tailnum": [None if number % 10 == 0 else f"N{number}" for number in range(rows)],
        "origin": [("EWR", "JFK", "LGA")[number % 3] for number in range(rows)],
        "dest": ["BOS"] * rows,
        "scheduled_departure": pa.array(
            [noon + timedelta(minutes=number) for number in range(rows)], pa.timestamp("us", "UTC")
        ),
    }
    return pa.table(body)


def features(day: date, rows: int = ROWS) -> pa.Table:
    """Feature rows of a day's schedule, in another order than the schedule's."""
    order = [*range(1, rows, 2), *range(0, rows, 2)]
    one_o_clock = datetime(day.year, day.month, day.day, 5, tzinfo=UTC)
    body: dict[str, Any] = {
        "flight_id": [flight_id(day, number) for number in order],
        "as_of": pa.array([one_o_clock] * rows, pa.timestamp("us", "UTC")),
        "carrier": [("AA", "B6", "UA", "ZZ")[number % 4] for number in order],
        "distance": pa.array([None if number % 7 == 0 else number / 100 for number in order], pa.float64()),
        "hour": pa.array([number % 24 for number in order], pa.int64()),
        "weather_age": pa.array([9.0] * rows, pa.float64()),
    }
    # An observation is its station's: JFK's temperature is 61 °F, and its anemometer is broken.
    body |= {name: pa.array([60.0 + number % 3 for number in order], pa.float64()) for name in SENSOR}
    body["wind_speed"] = pa.array([None if number % 3 == 1 else 10.0 for number in order], pa.float64())
    return pa.table(body)


def flight_id(day: date, number: int) -> str:
    """The key of a day's n-th flight."""
    return f"{day.isoformat()}-{('AA', 'B6', 'UA', 'ZZ')[number % 4]}-{number + 1}-{('EWR', 'JFK', 'LGA')[number % 3]}"
