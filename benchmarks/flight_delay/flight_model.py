"""A model and rows for benches of serving: every flight of 2013 with its hour's weather, 14 raw features.

HistGradientBoosting with 200 trees, defaults otherwise (the model that the issue's figures are of): 0.66 AUC or so, and
no less work for a server than a better one. The same every time.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date

import numpy as np
import pandas as pd
import pyarrow as pa

from formats.portable_model import InputKind
from include.modelling import portable
from include.modelling.estimators.estimator import LearningProblem, fit
from include.modelling.estimators.trees import Trees
from include.modelling.inputs import Input, encode
from include.modelling.recipe import Estimator, Recipe
from include.modelling.tasks.binary import BinaryTask
from include.use_cases.flight_delay.sources import package_folder

TREES = 200
CATEGORIES = ("carrier", "origin", "dest")
NUMBERS = (
    "month", "hour", "minute", "distance", "temp", "dewp", "humid", "wind_dir", "wind_speed", "pressure", "visib",
)  # fmt: skip
TRAINED_THROUGH = date(2013, 9, 30)
TRAINING_ROWS = 60_000


@dataclass(frozen=True)
class FlightModel:
    """A fitted model, its inputs, and its portable file."""

    inputs: tuple[Input, ...]
    trees: Trees
    content: bytes


def flights() -> pa.Table:
    """All 336,776 flights of the sample: the raw features, and whether it arrived more than 15 minutes late."""
    folder = package_folder()
    flown = pd.read_csv(folder / "flights.csv.zip")
    weather = pd.read_csv(folder / "weather.csv").drop_duplicates(["origin", "time_hour"])
    weather = weather.drop(columns=["year", "month", "day", "hour"])
    joined = flown.merge(weather, on=["origin", "time_hour"], how="left")
    numbers = {name: pa.array(joined[name].astype(float), pa.float64(), from_pandas=True) for name in NUMBERS}
    categories = {name: pa.array(joined[name], pa.string()) for name in CATEGORIES}
    return pa.table(numbers | categories | {"late": pa.array(joined["arr_delay"] > 15)})


def train(table: pa.Table) -> FlightModel:
    """The model, fitted on rows spread evenly over the year."""
    inputs = (*(Input(name) for name in NUMBERS), *(_category(table, name) for name in CATEGORIES))
    recipe = Recipe(
        "bench",
        Estimator.HIST_GRADIENT_BOOSTING,
        tuple(one.name for one in inputs),
        {"max_iter": TREES, "max_rows": TRAINING_ROWS},
    )
    problem = LearningProblem(BinaryTask(), inputs, recipe.seed)
    model = fit(recipe, problem, encode(table, inputs), table["late"].to_numpy().astype(np.int64))
    assert isinstance(model, Trees)
    origin = portable.Origin("flight_delay", "flight_id", recipe, TRAINED_THROUGH)
    return FlightModel(inputs, model, portable.write(model, inputs, origin))


def _category(table: pa.Table, name: str) -> Input:
    return Input(name, InputKind.CATEGORY, tuple(sorted(table[name].unique().drop_null().to_pylist())))
