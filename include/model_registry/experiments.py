"""What MLflow keeps of a candidate: one run a night, with everything needed to judge the model later."""

from __future__ import annotations

import hashlib
import json
import logging
import os
import platform
import shutil
import subprocess
import tempfile
import warnings
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime
from importlib.metadata import version
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from formats.partition import dataset_of, day_of
from include.links import links
from include.model_registry.tracking import reported
from include.modelling.recipe import Recipe
from include.modelling.tasks.learning_task import LearningTask
from include.modelling.tasks.tasks import task_of
from include.settings import PREFIX, Settings
from include.step import Context
from include.storage.lake import to_json

if TYPE_CHECKING:
    from mlflow import MlflowClient

log = logging.getLogger("nightshift")

RUN_KEY = "run_key"
_LIBRARIES = ("scikit-learn", "numpy", "pandas", "pyarrow", "onnx", "onnxruntime", "mlflow")
_NOTE = "mlflow.note.content"  # what MLflow's UI shows as a run's description
_SYSTEM = "system/"  # and the names that it shows as the system's metrics
_METRICS_AT_ONCE = 1_000  # what MLflow takes in one call


@dataclass(frozen=True)
class DatasetUsed:
    """A dataset that a model learned from: its address, its days, and one hash over its partitions."""

    name: str
    uri: str
    days: int
    first: str
    last: str
    digest: str


class MetricPoint(NamedTuple):
    """A metric of a day; MLflow draws a curve through those of one name, by step or by time."""

    name: str
    value: float
    day: str
    step: int = 0

    @property
    def milliseconds(self) -> int:
        """Its day, as MLflow counts time: a retry writes what is there already."""
        return int(datetime.fromisoformat(self.day).replace(tzinfo=UTC).timestamp() * 1_000)


@dataclass(frozen=True)
class Logbook:
    """The record of one candidate's night. `run_key` names night, candidate, recipe, data and figures.

    `used` is what the step took of the machine, and `links` lead back to Airflow.
    """

    use_case: str
    run_key: str
    day: str
    recipe: Recipe
    figures: tuple[MetricPoint, ...]
    datasets: tuple[DatasetUsed, ...]
    files: Mapping[str, bytes]
    links: Mapping[str, str]
    used: Mapping[str, float]


def logbook(
    context: Context,
    hashes: Mapping[str, str],
    recipe: Recipe,
    files: Mapping[str, bytes],
    day: date,
    *,
    used: Mapping[str, float] | None = None,
) -> Logbook:
    """The record of a candidate's night, from the partitions it learned from (hashed) and the files it published."""
    # A changed judging window or estimator gives other figures from the same data: that is another run.
    report = hashlib.sha256(files["report.json"]).hexdigest()
    return Logbook(
        use_case=context.use_case.name,
        run_key=f"{day}/{recipe.name}/{recipe.fingerprint}/{digest({**hashes, 'report': report})[:16]}",
        day=day.isoformat(),
        recipe=recipe,
        figures=tuple(_figures(task_of(context.use_case.spec), json.loads(files["report.json"]))),
        datasets=tuple(datasets_used(context, hashes)),
        files={**files, "manifests.json": to_json(hashes)},
        links=links(context.settings, context.use_case.name, day),
        used=used or {},
    )


def digest(hashes: Mapping[str, str]) -> str:
    """One hash over many named ones."""
    listing = "".join(f"{name}={value}\n" for name, value in sorted(hashes.items()))
    return hashlib.sha256(listing.encode()).hexdigest()


def log_run(client: MlflowClient, settings: Settings, book: Logbook) -> str:
    """Write a candidate's night into its MLflow run and return the run's id.

    The run is found again by its key, so that a retry completes it instead of making another. Raises `FaultError` when
    MLflow does not answer.
    """
    with reported(settings.require("tracking_url")):
        experiment = _experiment(client, settings, book.use_case)
        run = _run(client, experiment, book)
        if run.info.status != "FINISHED":
            _fill(client, run.info.run_id, book)
        return str(run.info.run_id)


def _experiment(client: MlflowClient, settings: Settings, name: str) -> str:
    from mlflow.exceptions import MlflowException

    if found := client.get_experiment_by_name(name):
        return _restored(client, found)
    try:
        return str(client.create_experiment(name, artifact_location=artifact_root(settings.artifacts, name)))
    except MlflowException:
        # Candidates train in parallel: another may have made it in between.
        if found := client.get_experiment_by_name(name):
            return str(found.experiment_id)
        raise


def _restored(client: MlflowClient, found: Any) -> str:
    """The experiment's id; a deleted one is restored, because MLflow keeps its name and accepts no run for it."""
    if found.lifecycle_stage == "deleted":
        log.warning("MLflow's experiment %s was deleted; it is restored, with its runs", found.name)
        client.restore_experiment(found.experiment_id)
    return str(found.experiment_id)


def artifact_root(artifacts: str, use_case: str) -> str:
    """Where a use case's plots and files go: `artifacts` as an absolute address, below it the use case's folder."""
    root = artifacts if "://" in artifacts or artifacts.startswith("mlflow-artifacts:") else _folder(artifacts)
    return f"{root.rstrip('/')}/{use_case}"


def _folder(path: str) -> str:
    return Path(path).absolute().as_uri()


def _run(client: MlflowClient, experiment: str, book: Logbook) -> Any:
    found = client.search_runs([experiment], f"tags.{RUN_KEY} = '{book.run_key}'", max_results=1)
    if found:
        return found[0]
    tags = {
        RUN_KEY: book.run_key,
        "data_day": book.day,
        "candidate": book.recipe.name,
        "estimator": str(book.recipe.estimator),
        "baseline": str(book.recipe.baseline).lower(),
        _NOTE: " · ".join(f"[{name}]({address})" for name, address in book.links.items()),
        "recipe_fingerprint": book.recipe.fingerprint,
        "mlflow.source.name": "include.steps.train",
        "code_revision": code_revision(),
        "python": platform.python_version(),
        **{name: version(name) for name in _LIBRARIES},
    }
    return client.create_run(experiment, run_name=f"{book.day} {book.recipe.name}", tags=tags)


def _fill(client: MlflowClient, run_id: str, book: Logbook) -> None:
    from mlflow.entities import Metric, Param

    recipe = book.recipe
    settings = {"estimator": recipe.estimator, "seed": recipe.seed, "inputs": len(recipe.inputs), **recipe.parameters}
    params = [Param(name, str(value)) for name, value in settings.items()]
    figures = [*book.figures, *(MetricPoint(f"{_SYSTEM}{name}", value, book.day) for name, value in book.used.items())]
    metrics = [Metric(one.name, one.value, one.milliseconds, one.step) for one in figures]
    client.log_batch(run_id, params=params)
    for start in range(0, len(metrics), _METRICS_AT_ONCE):
        client.log_batch(run_id, metrics=metrics[start : start + _METRICS_AT_ONCE])
    client.log_inputs(run_id, datasets=[_dataset_input(dataset) for dataset in book.datasets])
    with tempfile.TemporaryDirectory() as folder:
        for name, content in book.files.items():
            Path(folder, name).write_bytes(content)
        client.log_artifacts(run_id, folder)
    client.set_terminated(run_id, "FINISHED")


def _dataset_input(dataset: DatasetUsed) -> Any:
    from mlflow.data.dataset_source_registry import resolve_dataset_source
    from mlflow.data.meta_dataset import MetaDataset
    from mlflow.entities import Dataset, DatasetInput, InputTag

    with warnings.catch_warnings(action="ignore"):  # for a folder: MLflow has registered one reader of them twice
        source = resolve_dataset_source(dataset.uri)
    # MLflow takes 36 characters of a digest; the whole hashes are in manifests.json beside the plots.
    made = MetaDataset(source, name=dataset.name, digest=dataset.digest[:32])
    profile = json.dumps({"days": dataset.days, "first": dataset.first, "last": dataset.last})
    entity = Dataset.from_dictionary({**made.to_dict(), "profile": profile})
    return DatasetInput(entity, tags=[InputTag("mlflow.data.context", "training")])


def code_revision() -> str:
    """The revision that runs: `NIGHTSHIFT_CODE_REVISION`, else the checkout's commit, else `unknown`."""
    if named := os.environ.get(f"{PREFIX}CODE_REVISION"):
        return named
    git = shutil.which("git")
    if git is None:
        return "unknown"
    here = Path(__file__).parent
    answer = subprocess.run([git, "rev-parse", "HEAD"], cwd=here, capture_output=True, text=True, check=False)
    return answer.stdout.strip() or "unknown"


def _figures(task: LearningTask, report: Mapping[str, Any]) -> Iterator[MetricPoint]:
    """The candidate's figures; a step is a fold, from the oldest to the one that judges, whose figures count."""
    for step, judged in enumerate(report["folds"], start=1):
        for horizon, scores in judged["scores"].items():
            yield from (
                MetricPoint(f"{horizon}/{name}", value, judged["fold"]["last"], step) for name, value in scores.items()
            )
    for name, scores in report["slices"].items():
        yield from (MetricPoint(f"slices/{name}/{metric}", scores[metric], report["date"]) for metric in task.sliced)
    yield MetricPoint("rows", report["rows"], report["date"])


def datasets_used(context: Context, hashes: Mapping[str, str]) -> Iterator[DatasetUsed]:
    """The datasets of these partitions, by name."""
    lake = context.lake
    for dataset, names in groupby(sorted(hashes), key=dataset_of):
        used = {name: hashes[name] for name in names}
        days = [str(day_of(name)) for name in used]
        yield DatasetUsed(
            dataset, lake.store.uri(f"{lake.prefix}/{dataset}"), len(days), days[0], days[-1], digest(used)
        )
