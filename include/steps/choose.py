"""choose: judge tonight's candidates and the champion on days that none of them has seen, and decide."""

from __future__ import annotations

import io
import json
import logging
from dataclasses import asdict, dataclass
from datetime import date
from typing import Any

import pyarrow.parquet as pq

from include import identity
from include.errors import DataError
from include.identity import GATES
from include.model_registry.emptied import require_versions
from include.model_registry.versions import Registry, Version
from include.modelling.examples import Ingredients, ingredients
from include.modelling.judgement import Contender, Difference, Judged, Judgement, judge
from include.modelling.recipe import AnyGates, Recipe
from include.modelling.tasks.learning_task import LearningTask
from include.modelling.tasks.tasks import task_of
from include.modelling.training import backtest_holdout, holdout_columns
from include.step import Context, Result, StepArguments, main
from include.steps.train import candidate_identity
from include.storage.lake import DECISIONS, Dataset, Layer, Partition, to_json

log = logging.getLogger("nightshift")


class ChooseArguments(StepArguments):
    """Command-line arguments of choose."""


@dataclass(frozen=True)
class Opponent:
    """The opponent of the candidates: the champion's recipe, or the baseline if there is no champion to judge.

    `reigns` is true for the champion.
    """

    contender: Contender | None
    champion: Version | None
    reigns: bool
    remark: str = ""


def choose(context: Context, arguments: ChooseArguments) -> Result:
    """Publish `decisions/champion/data_day=D`: the winner, whether it is promoted, and the numbers.

    A decision from the same candidates, gates, label, code and libraries stays as it is, because it is history. Raises
    `DataError` when no candidate is published for D, or when none passes the gates and there is no champion to keep;
    `FaultError` for an empty registry beside predictions: its database is away.
    """
    made_of = ingredients(context.lake, context.use_case.spec, arguments.date)
    gates: AnyGates = context.use_case.part("gates").GATES
    contenders = _contenders(context, made_of, arguments.date)
    hashes = {c.name: context.lake.require(_partition(c.name, arguments.date)).sha256 for c in contenders}
    inputs = hashes | identity.decision(context.use_case.spec, gates)
    partition = DECISIONS.on(arguments.date)
    published = context.lake.manifest(partition)
    if published and published.inputs != inputs:
        changed = identity.differences(published.inputs, inputs)
        log.info("choose: %s is out of date (another %s) and made again", partition, changed)
    if published is None or published.inputs != inputs or arguments.force:
        registry = Registry.open(context.settings, context.use_case.name)
        if not arguments.force:
            require_versions(context, registry)
        opponent = _opponent(context, registry, made_of, arguments.date, contenders)
        seed = arguments.date.toordinal()
        task = _task(context, contenders)
        judgement = judge(task, gates, contenders, opponent.contender, first=not opponent.reigns, seed=seed)
        decision = to_json(_decision(task, arguments.date, judgement, opponent, hashes))
        context.lake.publish(partition, {"decision.json": decision}, inputs=inputs, force=published is not None)
    return _result(context, arguments.date)


def read_decision(context: Context, day: date) -> dict[str, Any]:
    """What was decided for a data day; `DataError` when nothing was."""
    decision: dict[str, Any] = json.loads(context.lake.read_file(DECISIONS.on(day), "decision.json"))
    return decision


def _partition(candidate: str, day: date) -> Partition:
    return Dataset(Layer.CANDIDATES, candidate).on(day)


def _contenders(context: Context, made_of: Ingredients, day: date) -> list[Contender]:
    """The candidates published for the day from its present recipes and data."""
    found = []
    columns = holdout_columns(context.use_case.spec, context.use_case.part("gates").GATES.slices)
    for recipe in context.use_case.part("candidates").CANDIDATES:
        partition = _partition(recipe.name, day)
        manifest = context.lake.manifest(partition)
        if manifest is None:
            continue
        present = {**made_of.hashes, **candidate_identity(context, recipe)}
        holdout = pq.read_table(io.BytesIO(context.lake.read_file(partition, "holdout.parquet")))
        # Dropped slices are no reason to train again, missing ones are.
        present[GATES] = manifest.inputs.get(GATES, "") if set(columns) <= set(holdout.column_names) else present[GATES]
        if changed := identity.differences(manifest.inputs, present):
            log.warning("choose: %s is out of date (another %s) and left out; train it again", partition, changed)
            continue
        found.append(Contender(recipe.name, recipe, holdout.select(columns)))
    if not found:
        raise DataError(f"no candidate is published for {day} from its present data; run train first")
    return found


def _task(context: Context, contenders: list[Contender]) -> LearningTask:
    """The task, with the classes that the hold-outs' labels have where the spec names none."""
    task = task_of(context.use_case.spec)
    return task.judged(contenders[0].holdout)


def _opponent(
    context: Context, registry: Registry, made_of: Ingredients, day: date, contenders: list[Contender]
) -> Opponent:
    champion = registry.reigning_before(day)
    remark = "there was no champion"
    if champion is not None:
        try:
            return Opponent(_judged(context, made_of, day, contenders, champion.recipe), champion, reigns=True)
        except DataError as error:
            remark = f"the baseline stands in, as version {champion.version} cannot be fitted any more: {error}"
            log.warning("choose: %s", remark)
    recipes: tuple[Recipe, ...] = context.use_case.part("candidates").CANDIDATES
    baseline = next((recipe for recipe in recipes if recipe.baseline), None)
    contender = _judged(context, made_of, day, contenders, baseline) if baseline else None
    return Opponent(contender, champion, reigns=False, remark=remark)


def _judged(
    context: Context, made_of: Ingredients, day: date, contenders: list[Contender], recipe: Recipe
) -> Contender:
    for contender in contenders:
        if contender.recipe.fingerprint == recipe.fingerprint:
            return contender
    log.info("choose: fitting %s up to the judging window, as it was not trained tonight", recipe.name)
    return Contender(recipe.name, recipe, backtest_holdout(context, made_of, recipe, day))


def _decision(
    task: LearningTask, day: date, judgement: Judgement, opponent: Opponent, candidates: dict[str, str]
) -> dict[str, Any]:
    champion = opponent.champion
    return {
        "date": day,
        "challenger": judgement.challenger,
        "promoted": judgement.promoted,
        "reason": judgement.reason,
        "remark": opponent.remark,
        "opponent": opponent.contender.name if opponent.contender else None,
        "champion_before": _named(champion) if champion else None,
        "candidates": candidates,
        "trials": {trial.name: _trial(task, trial) for trial in judgement.trials},
    }


def _named(version: Version) -> dict[str, Any]:
    return {
        "version": version.version,
        "candidate": version.candidate,
        "fingerprint": version.recipe.fingerprint,
        "trained_through": version.trained_through,
    }


def _trial(task: LearningTask, trial: Judged) -> dict[str, Any]:
    """A trial, its figures by the names that they have in its task."""
    told = {name: value for name, value in asdict(trial).items() if name not in ("name", "value", "error")}
    return told | {
        task.metric: trial.value,
        task.error: trial.error,
        "difference": _gap(task, trial.difference) if trial.difference else None,
        "collapsed": {name: _gap(task, fall) for name, fall in trial.collapsed.items()},
    }


def _gap(task: LearningTask, difference: Difference) -> dict[str, float]:
    return {task.metric: difference.value, "low": difference.low, "high": difference.high}


def _result(context: Context, day: date) -> Result:
    decision = read_decision(context, day)
    task = task_of(context.use_case.spec)
    trials: dict[str, Any] = decision["trials"]
    for name, trial in trials.items():
        passes = "; ".join(trial["failures"]) or "passes the gates"
        log.info("choose: %s: %s %.4f, %s", name, task.shown, trial[task.metric], passes)
    log.info("choose: %s", decision["reason"])
    failures = {name: trial["failures"][:3] for name, trial in trials.items() if trial["failures"]}
    if not decision["promoted"] and decision["champion_before"] is None:
        said = "; ".join(f"{name}: {', '.join(each)}" for name, each in failures.items())
        raise DataError(f"{decision['reason']} and there is no champion to keep, so nothing can be served ({said})")
    facts = {name: decision[name] for name in ("challenger", "promoted", "reason", "opponent", "champion_before")}
    return Result(
        metrics={f"{name}_{task.metric}": round(trial[task.metric], 5) for name, trial in trials.items()},
        uris={str(DECISIONS): context.lake.uri(DECISIONS.on(day))},
        facts=facts | {"failures": failures},
    )


if __name__ == "__main__":
    main(ChooseArguments, choose)
