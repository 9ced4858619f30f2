"""A lake of the ice-cream use case as it lies before training: forty days of features and sales, published directly."""

from __future__ import annotations

from dataclasses import replace
from datetime import date
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any, cast

import numpy as np
import pyarrow as pa
from pydantic import SecretStr

from include.modelling.recipe import Estimator, Gates, Recipe
from include.settings import Settings
from include.step import Context
from include.steps.choose import ChooseArguments, choose
from include.steps.train import TrainArguments, train
from include.storage.lake import Dataset, Lake, Layer, days_between
from include.use_case import UseCase, load_use_case

PACKAGE = "tests.use_cases.ice_cream"
FIRST = date(2026, 5, 1)
LAST = date(2026, 6, 12)
KIOSKS = 30
SALES = Dataset(Layer.RAW, "sales")
FEATURES = Dataset(Layer.FEATURES, "morning")


class Case(UseCase):
    """A use case some of whose modules are given by the test."""

    given: dict[str, Any]

    def part(self, module: str) -> ModuleType:
        return cast(ModuleType, self.given[module]) if module in self.given else super().part(module)


def context(
    folder: Path,
    tracking_url: str | None,
    *,
    candidates: tuple[Recipe, ...] | None = None,
    gates: Gates | None = None,
    database_url: str | None = None,
) -> Context:
    """Ice cream over the lake in `folder`, with its own or other candidates and gates."""
    settings = Settings(
        lake=str(folder / "lake"),
        artifacts=str(folder / "artifacts"),
        tracking_url=SecretStr(tracking_url) if tracking_url else None,
        database_url=SecretStr(database_url) if database_url else None,
    )
    case = Case(replace(load_use_case(PACKAGE).spec))
    given: dict[str, Any] = {}
    if candidates is not None:
        given["candidates"] = SimpleNamespace(CANDIDATES=candidates)
    if gates is not None:
        given["gates"] = SimpleNamespace(GATES=gates)
    object.__setattr__(case, "given", given)
    return Context(settings, case, Lake.open(settings, case.name))


def fill(lake: Lake, first: date = FIRST, last: date = LAST) -> None:
    """Publish the days: a kiosk sells out the likelier the warmer the forecast, and a little by its habit."""
    for day in days_between(first, last):
        random = np.random.default_rng(day.toordinal())
        keys = [f"{day}-{number}" for number in range(KIOSKS)]
        kiosks = [f"kiosk {number % 3}" for number in range(KIOSKS)]
        forecast = random.uniform(10, 35, KIOSKS).round(1)
        chance = 1 / (1 + np.exp(-(forecast - 24) / 3))
        out = random.random(KIOSKS) < chance
        rate = np.clip(0.4 + random.normal(0, 0.1, KIOSKS), 0, 1)
        days = [day] * KIOSKS
        features = {"kiosk_day": keys, "date": days, "kiosk": kiosks, "forecast": forecast, "sold_out_rate": rate}
        sales = {"kiosk_day": keys, "date": days, "kiosk": kiosks, "sold": [5] * KIOSKS, "sold_out": out}
        lake.publish(FEATURES.on(day), {"rows.parquet": pa.table(features)})
        lake.publish(SALES.on(day), {"rows.parquet": pa.table(sales)})


WEATHER = Recipe("weather", Estimator.LOGISTIC_REGRESSION, ("forecast", "sold_out_rate"))
TWIN = Recipe("twin", Estimator.LOGISTIC_REGRESSION, ("forecast", "sold_out_rate"), {"C": 0.9})
HABIT = Recipe("habit", Estimator.LOGISTIC_REGRESSION, ("sold_out_rate",))
RATES = Recipe("rates", Estimator.HISTORICAL_RATES, ("sold_out_rate",), baseline=True)
GATES = Gates(max_calibration_error=0.5, max_slice_drop=0.5, slices=("kiosk",), auc_margin=0.01)
"""Recipes that fit in no time: one that knows the weather, one much like it, one that does not, and the baseline."""


def night(made: Context, day: date) -> None:
    """Train all candidates of a night and choose among them."""
    for recipe in made.use_case.part("candidates").CANDIDATES:
        train(made, TrainArguments.model_validate({"use_case": PACKAGE, "date": day, "candidate": recipe.name}))
    choose(made, ChooseArguments.model_validate({"use_case": PACKAGE, "date": day}))
