"""register: record tonight's decision and model in the registry; the aliases follow."""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import date
from typing import Any

from formats.manifest import Manifest
from include.errors import DataError
from include.identity import partitions
from include.links import links
from include.model_registry.emptied import require_versions
from include.model_registry.experiments import code_revision, datasets_used, digest, log_run, logbook
from include.model_registry.mlflow_model import log_model
from include.model_registry.model_card import ModelCard
from include.model_registry.tracking import reported
from include.model_registry.versions import Alias, Draft, Registry, Role, Version
from include.modelling.recipe import Recipe
from include.modelling.scoring import feature_partition
from include.modelling.tasks.learning_task import LearningTask
from include.modelling.tasks.tasks import task_of
from include.step import Context, Result, StepArguments, main
from include.steps.choose import read_decision
from include.storage.lake import Dataset, Layer, Partition

log = logging.getLogger("nightshift")

FILES = ("model.onnx", "backtest.onnx", "holdout.parquet", "report.json", "importance.png")


class RegisterArguments(StepArguments):
    """Command-line arguments of register."""


@dataclass(frozen=True)
class Registrable:
    """The night's results: the decision, the challenger's recipe and files, and its MLflow run."""

    task: LearningTask
    day: date
    decision: Mapping[str, Any]
    recipe: Recipe
    files: Mapping[str, bytes]
    manifest: Manifest
    mlflow_run: str

    @property
    def report(self) -> dict[str, Any]:
        """The candidate's figures."""
        report: dict[str, Any] = json.loads(self.files["report.json"])
        return report


def register(context: Context, arguments: RegisterArguments) -> Result:
    """Register the night's challenger once, with its decision, and move the aliases that it won.

    On the first night the winner's backtest is registered too, so that day D has a version that had not seen it. A
    backfill of old days moves no alias. A version whose night was decided again follows that decision. Raises
    `DataError` when nothing was decided, `FaultError` when MLflow or PostgreSQL does not answer, or for an empty
    registry beside predictions: its database is away.
    """
    registry = Registry.open(context.settings, context.use_case.name)
    if not arguments.force:
        require_versions(context, registry)
    night = _night(context, registry, arguments.date)
    with registry.locked():
        first = registry.newest_before(night.day) is None
        version = _registered(context, registry, night, "model")
        backtest = _registered(context, registry, night, "backtest") if first and version.approved else None
        registry.advance(Alias.CHALLENGER, version)
        if version.approved:
            registry.advance(Alias.CHAMPION, version)
        elif version.rejected is None:
            registry.withdraw(version)
        champion = registry.champion()
    held = f"champion is {champion.version}" if champion else "there is no champion"
    log.info("register: version %s (%s, approved: %s); %s", version.version, version.candidate, version.approved, held)
    return _result(night, version, backtest, champion)


def _night(context: Context, registry: Registry, day: date) -> Registrable:
    decision = read_decision(context, day)
    name = decision["challenger"]
    if name is None:
        raise DataError(f"the decision for {day} names no challenger; add a candidate that is not a baseline")
    partition = Dataset(Layer.CANDIDATES, name).on(day)
    manifest = _unchanged(context, partition, decision)
    task = task_of(context.use_case.spec)
    files = {file: context.lake.read_file(partition, file) for file in (*FILES, f"{task.curve}.png")}
    recipe = Recipe.from_json(json.dumps(json.loads(files["report.json"])["recipe"]))
    hashes = partitions(manifest.inputs)
    # Training has logged this run; it is written again only if MLflow has lost it since.
    run = log_run(registry.client, context.settings, logbook(context, hashes, recipe, files, day))
    return Registrable(task, day, decision, recipe, files, manifest, run)


def _unchanged(context: Context, partition: Partition, decision: Mapping[str, Any]) -> Manifest:
    """The candidate's manifest, if it still is the one that was judged."""
    manifest = context.lake.require(partition)
    if manifest.sha256 != decision["candidates"][partition.dataset.name]:
        raise DataError(f"{partition} was trained again after the decision; run choose for {partition.day} first")
    return manifest


def _registered(context: Context, registry: Registry, night: Registrable, artifact: str) -> Version:
    content = night.files[f"{artifact}.onnx"]
    draft = _draft(context, night, artifact, content)
    card = _card(context, night, draft)
    rows = context.lake.read(feature_partition(context.use_case.spec.horizons[0], night.day))
    files = {"card.md": card.markdown(), "card.html": card.html()}
    with reported(registry.url):
        log_model(registry.client, night.mlflow_run, artifact, content, rows, files=files)
        experiment = registry.client.get_run(night.mlflow_run).info.experiment_id
    page = f"#/experiments/{experiment}/runs/{night.mlflow_run}/artifacts/{artifact}/card.html"
    shown = " · ".join(f"[{name}]({address})" for name, address in {"Model card": page, **card.links}.items())
    return registry.register(replace(draft, description=f"{shown}\n\n{draft.description}"))


def _card(context: Context, night: Registrable, draft: Draft) -> ModelCard:
    spec = context.use_case.spec
    return ModelCard(
        spec=spec,
        gates=context.use_case.part("gates").GATES,
        draft=draft,
        report=night.report,
        decision=night.decision,
        datasets=tuple(datasets_used(context, partitions(night.manifest.inputs))),
        pictures={name: night.files[name] for name in (f"{night.task.curve}.png", "importance.png")},
        links=links(context.settings, spec.name, night.day),
    )


def _draft(context: Context, night: Registrable, artifact: str, content: bytes) -> Draft:
    sha256 = hashlib.sha256(content).hexdigest()
    backtest = artifact == "backtest"
    window = night.report["window"]
    return Draft(
        run_key=f"{night.day}/{night.recipe.name}/{sha256[:16]}",
        day=night.day,
        trained_through=date.fromisoformat(window["fit_through"]) if backtest else night.day,
        candidate=night.recipe.name,
        recipe=night.recipe,
        role=Role.BACKTEST if backtest else Role.NIGHTLY,
        approved=bool(night.decision["promoted"]),
        model_uri=_stored(context, f"models/{sha256}.onnx", content),
        sha256=sha256,
        mlflow_run=night.mlflow_run,
        artifact=artifact,
        description=_description(night),
        facts=_facts(night),
    )


def _stored(context: Context, name: str, content: bytes) -> str:
    # The name is the content's hash, so an existing file is right and need not be written again.
    path = f"{context.lake.prefix}/{name}"
    return context.lake.store.uri(path) if context.lake.store.exists(path) else context.lake.put(name, content)


def _facts(night: Registrable) -> dict[str, str]:
    scores, metric = night.report["scores"], night.task.metric
    trial = night.decision["trials"][night.recipe.name]
    difference = trial["difference"] or {}
    return {
        "reason": night.decision["reason"],
        "opponent": str(night.decision["opponent"]),
        "verdict": str(trial["verdict"]),
        "failures": "; ".join(trial["failures"]),
        "code_revision": code_revision(),
        "candidate_sha256": night.manifest.sha256,
        "data_sha256": digest(night.manifest.inputs),
        **{f"{metric}_{horizon}": f"{figures[metric]:.5f}" for horizon, figures in scores.items()},
        **{f"{metric}_difference_{name}": f"{value:+.5f}" for name, value in difference.items()},
    }


def _description(night: Registrable) -> str:
    decision, window, task = night.decision, night.report["window"], night.task
    lines = [
        f"**{'Promoted' if decision['promoted'] else 'Not promoted'}** for data day {night.day}: {decision['reason']}.",
        f"Judged on {window['first']} … {window['last']}, every recipe fitted up to {window['fit_through']}, "
        f"against {decision['opponent']}.",
        "",
        f"| candidate | {task.shown} | difference | {task.erring} | gates |",
        "| --- | --- | --- | --- | --- |",
    ]
    for name, trial in decision["trials"].items():
        gap = trial["difference"]
        shown = f"{gap[task.metric]:+.4f} ({gap['low']:+.4f} … {gap['high']:+.4f})" if gap else ""
        gates = "; ".join(trial["failures"]) or "passes"
        lines.append(f"| {name} | {trial[task.metric]:.4f} | {shown} | {trial[task.error]:.3f} | {gates} |")
    for name, trial in decision["trials"].items():
        if fallen := [f"{slice_} {fall[task.metric]:+.3f}" for slice_, fall in trial["collapsed"].items()]:
            lines += ["", f"Collapsed slices of {name}: {', '.join(fallen)}."]
    return "\n".join(lines)


def _result(night: Registrable, version: Version, backtest: Version | None, champion: Version | None) -> Result:
    scores, metric = night.report["scores"], night.task.metric
    return Result(
        metrics={f"{horizon}_{metric}": round(figures[metric], 5) for horizon, figures in scores.items()},
        uris={"model": version.model_uri},
        facts={
            "version": version.version,
            "candidate": version.candidate,
            "trained_through": version.trained_through,
            "approved": version.approved,
            "sha256": version.sha256,
            "backtest_version": backtest.version if backtest else None,
            "champion": champion.version if champion else None,
            "champion_trained_through": champion.trained_through if champion else None,
        },
    )


if __name__ == "__main__":
    main(RegisterArguments, register)
