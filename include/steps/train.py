"""train: fit one candidate, judge it on days it has not seen, and fit it again on everything known."""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Mapping
from dataclasses import asdict
from datetime import date
from typing import Any

from formats.names import none_of
from include import identity
from include.errors import CodeError, SettingsError, SkippedError
from include.model_registry.experiments import log_run, logbook
from include.model_registry.tracking import open_client
from include.modelling import portable
from include.modelling.evaluation import groups
from include.modelling.examples import HORIZON, ingredients
from include.modelling.labels import LABEL
from include.modelling.plots import importance_plot
from include.modelling.portable import Origin
from include.modelling.recipe import AnyGates, Recipe
from include.modelling.tasks.tasks import task_of
from include.modelling.training import Trained, by_slice, examples_for, plan, train_candidate
from include.process import peak_rss_mib
from include.step import Context, Result, StepArguments, main
from include.storage.lake import Dataset, Layer, Partition, parquet_bytes, to_json

log = logging.getLogger("nightshift")


class TrainArguments(StepArguments):
    """Command-line arguments of train: the candidate to fit, and those asked for (comma separated; empty: all)."""

    candidate: str
    candidates: str = ""


def train(context: Context, arguments: TrainArguments) -> Result:
    """Publish `candidates/<candidate>/data_day=D` and its MLflow run.

    A candidate from the same partitions, recipe, label, slices, code and libraries stays as it is. Raises
    `SkippedError` for a candidate that was not asked for, `DataError` when there is too little to learn from,
    `FaultError` when MLflow does not answer.
    """
    recipe = chosen_recipe(context, arguments)
    made_of = ingredients(context.lake, context.use_case.spec, arguments.date)
    partition = Dataset(Layer.CANDIDATES, recipe.name).on(arguments.date)
    inputs = {**made_of.hashes, **candidate_identity(context, recipe)}
    published = context.lake.manifest(partition)
    if published and published.inputs == inputs and not arguments.force:
        log.info("train: %s is published already, from the same recipe, code and data", partition)
        return _result(context, partition, {"found_done": True})
    if published and published.inputs != inputs:
        changed = identity.differences(published.inputs, inputs)
        log.info("train: %s is out of date (another %s) and made again", partition, changed)
    clock, cpu = time.monotonic(), time.process_time()
    planned = plan(context.use_case.spec, made_of, arguments.date)
    client = open_client(context.settings)  # if MLflow does not answer, reading and fitting would be wasted
    examples = examples_for(context, made_of, recipe, planned, arguments.date)
    trained = train_candidate(recipe, examples, planned, arguments.date)
    files = _files(context, trained, arguments.date)
    fitted = time.monotonic()
    used = {
        "fit_seconds": fitted - clock,
        "fit_cpu_seconds": time.process_time() - cpu,
        "peak_rss_mib": peak_rss_mib(),
    }
    log_run(client, context.settings, logbook(context, made_of.hashes, recipe, files, arguments.date, used=used))
    logged = time.monotonic()
    log.info("train: %s fitted and proved in %.1f s, logged in %.1f s", recipe.name, fitted - clock, logged - fitted)
    context.lake.publish(partition, files, inputs=inputs, force=published is not None)
    return _result(context, partition, {"fit_seconds": round(fitted - clock, 1)})


def candidate_identity(context: Context, recipe: Recipe) -> dict[str, str]:
    """What a candidate is made from besides partitions, as it is now."""
    return identity.candidate(context.use_case.spec, recipe, context.use_case.part("gates").GATES)


def chosen_recipe(context: Context, arguments: TrainArguments) -> Recipe:
    """The candidate's recipe, if it was asked for."""
    recipes: dict[str, Recipe] = {recipe.name: recipe for recipe in context.use_case.part("candidates").CANDIDATES}
    asked = [name.strip() for name in arguments.candidates.split(",") if name.strip()]
    for name in (arguments.candidate, *asked):
        if name not in recipes:
            raise SettingsError(f"candidate {name!r} {none_of(name, recipes)}")
    if asked and arguments.candidate not in asked:
        raise SkippedError(f"{arguments.candidate} was not asked for (candidates: {', '.join(asked)})")
    return _sound(context, recipes[arguments.candidate])


def _sound(context: Context, recipe: Recipe) -> Recipe:
    features = context.use_case.part("feature_contract").FEATURES.names
    for wanted in recipe.inputs:
        if wanted not in features:
            raise CodeError(f"candidates.py: {recipe.name}: input {wanted!r} {none_of(wanted, features)}")
    return recipe


def _files(context: Context, trained: Trained, day: date) -> dict[str, bytes]:
    """The partition's files; each portable file is first compared with its model on every row of the window."""
    window = trained.examples.matrix[trained.examples.judged(trained.window)]
    models = {
        "backtest.onnx": (trained.backtest, trained.window.fit_through),
        "model.onnx": (trained.model, day),
    }
    files = {}
    task = trained.examples.task
    card = task.card(trained.examples.labels)
    for name, (model, through) in models.items():
        origin = Origin(context.use_case.name, context.use_case.spec.key, trained.recipe, through, card)
        files[name] = portable.write(model, trained.examples.inputs, origin)
        portable.prove(files[name], window, model.predict(window), model.tolerance)
    report = _report(context, trained, day)
    return files | {
        "holdout.parquet": parquet_bytes(trained.holdout),
        "report.json": to_json(report),
        f"{task.curve}.png": task.plot(_curves(trained)),
        "importance.png": importance_plot(trained.importance, f"{task.shown} lost when shuffled"),
    }


def _report(context: Context, trained: Trained, day: date) -> dict[str, Any]:
    gates: AnyGates = context.use_case.part("gates").GATES
    slices = by_slice(trained.examples.task, trained.holdout, gates.slices, gates.min_slice_rows)
    return {
        "date": day,
        "candidate": trained.recipe.name,
        "recipe": json.loads(trained.recipe.to_json()),
        "fingerprint": trained.recipe.fingerprint,
        "rows": trained.examples.known[day],
        "window": asdict(trained.window),
        "scores": {name: asdict(scores) for name, scores in trained.folds[-1].scores.items()},
        "folds": [asdict(judged) for judged in trained.folds],
        "slices": {name: asdict(scores) for name, scores in slices.items()},
        trained.examples.task.curve: {name: [asdict(b) for b in bins] for name, bins in _curves(trained).items()},
        "importance": trained.importance,
    }


def _curves(trained: Trained) -> dict[str, Any]:
    task, holdout = trained.examples.task, trained.holdout
    labels, answers = task.labels(holdout[LABEL]), task.answers(holdout)
    return {horizon: task.curves(labels[mask], answers[mask]) for horizon, mask in groups(holdout[HORIZON])}


def _result(context: Context, partition: Partition, facts: Mapping[str, Any]) -> Result:
    report = json.loads(context.lake.read_file(partition, "report.json"))
    kept = task_of(context.use_case.spec).kept
    metrics = {f"{h}_{name}": round(scores[name], 5) for h, scores in report["scores"].items() for name in kept}
    return Result(
        rows={"learned_from": report["rows"], "judged_on": sum(scores["rows"] for scores in report["scores"].values())},
        metrics=metrics,
        uris={str(partition.dataset): context.lake.uri(partition)},
        facts={"candidate": report["candidate"], "window": report["window"], **facts},
    )


if __name__ == "__main__":
    main(TrainArguments, train)
