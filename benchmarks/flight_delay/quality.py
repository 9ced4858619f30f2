"""How good the recipes are: fitted on January to September 2013, tested on the flights of October to December.

    python -m benchmarks.flight_delay.quality

Goes the product's own way: raw partitions by `extract`, features by the Spark job (a row knows what was known at its
as-of, no more), recipes, labels and portable files as in a nightly run, in a lake of its own below `.nightshift/bench`.
The model stays as it was on 30 September; a nightly run fits again each night. Over flights that arrived.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Mapping
from datetime import date
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc

from include.modelling import portable
from include.modelling.estimators.estimator import LearningProblem, fit
from include.modelling.evaluation import Scores, score
from include.modelling.examples import ingredients, load
from include.modelling.inputs import encode
from include.modelling.portable import Origin
from include.modelling.recipe import Recipe
from include.settings import Settings
from include.step import Context, open_context
from include.storage.lake import Dataset, Layer, days_between

ROOT = Path(__file__).resolve().parents[2]
LAKE = ROOT / ".nightshift" / "bench" / "lake"
USE_CASE = "include.use_cases.flight_delay"
TRAINED_THROUGH, LAST = date(2013, 9, 30), date(2013, 12, 30)

YARDSTICKS = {
    "two_hours": {"weather two hours ahead": (0.704, 0.157), "and airport and aircraft state": (0.730, 0.148)},
    "nightly": {"schedule only": (0.623, 0.174), "and history": (0.650, 0.170), "and weather": (0.666, 0.169)},
}
"""AUC and Brier of a plain script on the same split (the design's table)."""


def prepare() -> None:
    """Bring the lake up to date; what is there is not made again."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("NIGHTSHIFT_")}
    environment["NIGHTSHIFT_LAKE"] = str(LAKE)
    for day in (TRAINED_THROUGH, LAST):
        for module in ("include.steps.extract", "spark_jobs.features"):
            command = [sys.executable, "-m", module, "--use-case", USE_CASE, "--date", day.isoformat()]
            subprocess.run(command, env=environment, cwd=ROOT, check=True)


def outcomes(context: Context) -> pa.Table:
    """Key and label of the test months' flights that arrived."""
    spec = context.use_case.spec
    raw = context.lake.read_days(Dataset(Layer.RAW, spec.outcomes), days_between(TRAINED_THROUGH, LAST))
    labels = context.use_case.part("label").labels(raw, spec.day_end(LAST))
    return pa.Table.from_pandas(labels, preserve_index=False)


def test(context: Context, recipe: Recipe, labels: pa.Table) -> Mapping[str, Scores]:
    """The recipe's figures by horizon, answered by its portable file."""
    spec, lake = context.use_case.spec, context.lake
    examples = load(context, ingredients(lake, spec, TRAINED_THROUGH), recipe.inputs, (), [TRAINED_THROUGH])
    problem = LearningProblem(examples.task, examples.inputs, recipe.seed)
    model = fit(recipe, problem, examples.matrix, examples.labels)
    file = portable.write(model, examples.inputs, Origin(spec.name, spec.key, recipe, TRAINED_THROUGH))
    found = {}
    for horizon in spec.horizons:
        days = days_between(TRAINED_THROUGH, LAST)[1:]
        rows = lake.read_days(Dataset(Layer.FEATURES, horizon.name), days, [spec.key, *recipe.inputs])
        where = pc.index_in(rows[spec.key], value_set=labels[spec.key].combine_chunks())
        rows, where = rows.filter(pc.is_valid(where)), where.drop_null()
        answers = portable.run(file, encode(rows, examples.inputs))
        figures = score(labels["label"].take(where).to_numpy(), answers)
        assert figures is not None
        found[horizon.name] = figures
    return found


def main() -> None:
    """Print a table of all recipes beside the yardsticks, and the first recipe's figures as JSON."""
    prepare()
    context = open_context(USE_CASE, Settings(lake=str(LAKE)))
    labels = outcomes(context)
    print(f"\n{'':50}{'AUC':>8}{'Brier':>8}{'bias':>8}{'rows':>9}")
    line: dict[str, object] = {"bench": "quality"}
    recipes: tuple[Recipe, ...] = context.use_case.part("candidates").CANDIDATES
    for recipe in recipes:
        clock = time.perf_counter()
        figures = test(context, recipe, labels)
        for horizon, scores in figures.items():
            name = f"{recipe.name}, {horizon}"
            print(f"{name:50}{scores.auc:8.4f}{scores.brier:8.4f}{scores.bias:+8.3f}{scores.rows:9d}", flush=True)
            if recipe is recipes[0]:
                line |= {f"{horizon}_auc": round(scores.auc, 4), f"{horizon}_brier": round(scores.brier, 4)}
        line[f"{recipe.name}_seconds"] = round(time.perf_counter() - clock, 1)
    for horizon, sticks in YARDSTICKS.items():
        for name, (auc, brier) in sticks.items():
            print(f"{f'yardstick, {horizon}: {name}':50}{auc:8.3f}{brier:8.3f}")
    print(json.dumps(line))


if __name__ == "__main__":
    main()
