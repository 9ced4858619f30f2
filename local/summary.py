"""The result of a night: steps, candidates, champion, predictions, and one real answer from the serving API."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from typing import Any

from rich.console import Console
from rich.table import Table

from include.deployment.serving_api import ServingApi
from include.errors import DataError, LakeError, StepError
from include.modelling.scoring import answered, feature_partition, load_model, raw_rows
from include.modelling.tasks.tasks import task_of
from include.storage.lake import DECISIONS, Dataset, Lake, Layer
from include.use_case import UseCaseSpec
from local.journal import TaskRecord, busy_seconds
from local.progress import table


@dataclass(frozen=True)
class Summary:
    """The end of a successful run, read from the lake and asked of the serving API."""

    lake: Lake
    spec: UseCaseSpec
    day: date
    api: ServingApi

    def print(self, console: Console, tasks: Sequence[TaskRecord], wall: float) -> None:
        """The whole of it."""
        console.print(f"\n[bold]Steps[/] of {self.spec.name}, data day {self.day}")
        console.print(table(tasks))
        console.print(f"  {airflow_share(tasks, wall)}", highlight=False)
        console.print(f"\n[bold]Candidates[/], judged on {self.spec.holdout_days} days that none was trained on")
        console.print(self.candidates())
        for title, lines in (
            ("Champion", self.champion(tasks)),
            ("Predictions", self.predictions()),
            ("Serving", self.answer()),
        ):
            console.print(f"\n[bold]{title}[/]")
            for line in lines:
                console.print(f"  {line}", highlight=False, markup=False, soft_wrap=True)

    def candidates(self) -> Table:
        """Each candidate's figures, a row per horizon."""
        grid = Table(box=None, padding=(0, 2, 0, 0), header_style="bold")
        grid.add_column("candidate", no_wrap=True)
        grid.add_column("horizon", no_wrap=True)
        figures = task_of(self.spec).kept
        for figure in figures:
            grid.add_column(figure.replace("_", " "), justify="right", no_wrap=True)
        for name in self.spec.candidates:
            for horizon, scores in self._report(name).get("scores", {}).items():
                grid.add_row(name, horizon, *(f"{scores[figure]:.4f}" for figure in figures))
        return grid

    def champion(self, tasks: Sequence[TaskRecord]) -> Iterator[str]:
        """Which version is in force after this night, and why."""
        decision = self._json(DECISIONS, "decision.json")
        if decision:
            promoted = "promoted" if decision["promoted"] else "not promoted, the champion stays"
            yield f"{decision['challenger']}: {promoted}"
            yield f"why: {decision['reason']}" + (f" ({decision['remark']})" if decision["remark"] else "")
            for name, trial in decision["trials"].items():
                yield f"{name}: {'; '.join(trial['failures']) or 'passes the gates'}"
        register = next((task for task in tasks if task.step == "register"), None)
        facts = register.report.get("result", {}).get("facts", {}) if register else {}
        if facts:
            yield f"in force: version {facts['champion']}, trained through {facts['champion_trained_through']}"

    def predictions(self) -> Iterator[str]:
        """Where the night's predictions are, and how many."""
        for horizon in self.spec.horizons:
            partition = Dataset(Layer.PREDICTIONS, horizon.name).on(self.day + timedelta(days=horizon.day_offset))
            manifest = self.lake.manifest(partition)
            if manifest is None:
                yield f"{horizon.name}: none (no version that had not seen the day)"
            else:
                yield f"{horizon.name}: {manifest.rows:,} rows, {self.lake.uri(partition)}"

    def answer(self) -> Iterator[str]:
        """The serving URL, what it serves, and its answer for one real row of features."""
        try:
            served = self.api.served()
            if served is None:
                yield f"{self.api.url} serves nothing yet"
                return
            yield f"{self.api.url} serves version {served.version} since {served.since}"
            horizon = self.spec.horizons[-1]
            features = self.lake.read(feature_partition(horizon, self.day + timedelta(days=horizon.day_offset)))
            row = features.slice(features.num_rows // 2, 1)
            model = load_model(self.lake, served.sha256)
            answer = self.api.predict(raw_rows(row, model.inputs))
            [found] = answered(model, answer.body)
            told = ", ".join(f"{name} {_short(value)}" for name, value in found.items())
            yield f"asked about {row[self.spec.key][0].as_py()}: {told} (version {answer.version})"
        except StepError as error:
            yield f"no answer: {error}"

    def _report(self, candidate: str) -> Mapping[str, Any]:
        return self._json(Dataset(Layer.CANDIDATES, candidate), "report.json")

    def _json(self, dataset: Dataset, name: str) -> Mapping[str, Any]:
        try:
            return dict(json.loads(self.lake.read_file(dataset.on(self.day), name)))
        except (DataError, LakeError):
            return {}


def airflow_share(tasks: Sequence[TaskRecord], wall: float) -> str:
    """Airflow's own share of the wall time: all except the steps' time."""
    own = max(wall - busy_seconds(tasks), 0.0)
    return f"{wall:.1f} s in all, of which Airflow's own {own:.1f} s ({own / wall:.0%})"


def _short(value: Any) -> str:
    return f"{value:.4f}" if isinstance(value, float) else str(value)
