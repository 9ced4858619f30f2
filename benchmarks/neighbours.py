"""How far versions of neighbouring nights are apart: as a rollout measures them, and as the gates compare them.

    python -m benchmarks.neighbours <package> <first day> <last day>

Each recipe is trained in each of these nights, in a lake of its own. Two versions of a recipe are then asked about the
same rows, of days after both, or of the later one's own day as in a rollout. Prints a line of JSON for each recipe: of
each figure the least, the median, the ninth tenth and the greatest, by the nights between the two.
"""

from __future__ import annotations

import json
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date, timedelta
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from pydantic import SecretStr

from formats.answers.kinds import kind_of
from formats.comparison import Pair, apart, psi
from formats.portable_model import PortableModel
from formats.rollout_plan import Limits
from include.deployment.limits import distribution
from include.modelling.judgement import Contender, Court, Verdict
from include.modelling.scoring import answers
from include.modelling.tasks.tasks import task_of
from include.modelling.training import by_horizon
from include.settings import Settings
from include.step import Context, open_context
from include.steps.extract import ExtractArguments, extract
from include.steps.train import TrainArguments, train
from include.storage.lake import Dataset, Layer, days_between
from include.use_case import UseCase
from spark_jobs.features import FeaturesArguments, features

GAPS = (1, 7, 14)
"""Nights between two versions."""
ASKED_ROWS = 500
"""As many as a deployment sends."""
COUNTED = ("over", "stopped", "worse")
"""Figures that are 1 where the default limits or gates would have stopped the version, else 0."""


@dataclass(frozen=True, eq=False)
class Nights:
    """A use case whose recipes were trained in each of some nights."""

    context: Context
    days: Sequence[date]

    @classmethod
    def run(cls, package: str, first: date, last: date, folder: Path) -> Nights:
        """Train in each night from the first to the last, on one history."""
        settings = Settings(
            lake=str(folder / "lake"),
            artifacts=str(folder / "artifacts"),
            tracking_url=SecretStr(f"sqlite:///{folder / 'mlflow.db'}"),
        )
        context = open_context(package, settings)
        spec = context.use_case.spec
        whole = replace(spec, history_days=spec.history_days + (last - first).days)
        wide = Context(settings, UseCase(whole), context.lake)
        extract(wide, ExtractArguments(use_case=package, date=last))
        features(wide, FeaturesArguments(use_case=package, date=last))
        days = days_between(first, last)
        for day in days:
            for name in spec.candidates:
                train(context, TrainArguments(use_case=package, date=day, candidate=name))
        return cls(context, days)

    @property
    def shipped(self) -> list[str]:
        """The recipes that may be."""
        return [one.name for one in self.context.use_case.part("candidates").CANDIDATES if not one.baseline]

    @cache  # noqa: B019 (one object a process)
    def model(self, name: str, day: date) -> PortableModel:
        """What a night would ship."""
        return PortableModel.load(self._file(name, day, "model.onnx"))

    @cache  # noqa: B019
    def holdout(self, name: str, day: date) -> pa.Table:
        """A night's window, as its recipe predicted it."""
        return pq.read_table(pa.BufferReader(self._file(name, day, "holdout.parquet")))

    def _file(self, name: str, day: date, file: str) -> bytes:
        return self.context.lake.read_file(Dataset(Layer.CANDIDATES, name).on(day), file)

    def rows(self, days: Sequence[date]) -> pa.Table:
        """The features of the first horizon's examples of some data days."""
        horizon = self.context.use_case.spec.horizons[0]
        there = [day + timedelta(days=horizon.day_offset) for day in days]
        dataset = Dataset(Layer.FEATURES, horizon.name)
        known = set(self.context.lake.days(dataset))
        return self.context.lake.read_days(dataset, [day for day in there if day in known])

    def pairs(self, gap: int) -> Iterator[tuple[date, date]]:
        """Each two nights with this many between them."""
        return ((day, later) for day in self.days if (later := day + timedelta(days=gap)) in self.days)


def rollout(nights: Nights, name: str, gap: int) -> Iterator[dict[str, float]]:
    """What a rollout measures between two versions: on rows of the later one's day, as deploy sends them."""
    for day, later in nights.pairs(gap):
        asked = nights.rows([later])[:ASKED_ROWS]
        old, new = nights.model(name, day), nights.model(name, later)
        kind = kind_of(old.description)
        one = kind.measured(answers(old, asked), kind)
        other = kind.measured(answers(new, asked), kind_of(new.description))
        pair = Pair(moved=apart(one, other))
        pair.proven.note(one, 0.001)
        pair.trial.note(other, 0.001)
        means = zip(pair.proven.means, pair.trial.means, strict=True)
        yield {
            "psi": psi(pair),
            "mean_shift": max(abs(after - before) for before, after in means),
            "difference": pair.difference,
            "spread": pair.trial.spread / pair.proven.spread,
            "stopped": float(bool(distribution(pair, Limits()))),
        }


def refit(nights: Nights, name: str, gap: int) -> Iterator[dict[str, float]]:
    """How much better a version is than an earlier one of its recipe, as the gates compare, in days after both."""
    spec, gates = nights.context.use_case.spec, nights.context.use_case.part("gates").GATES
    recipe = next(one for one in nights.context.use_case.part("candidates").CANDIDATES if one.name == name)
    for day, later in nights.pairs(gap):
        judged = later + timedelta(days=spec.holdout_days)
        if judged not in nights.days:
            continue
        window = nights.holdout(name, judged)
        task = task_of(spec).judged(window)
        rows = nights.rows(days_between(later, judged))
        rows = rows.take(pc.index_in(window[spec.key], value_set=rows[spec.key].combine_chunks()))

        court = Court(task, gates, window, recipe.seed)
        own, other = (
            Contender(name, recipe, _answered(window, task.columns(answers(nights.model(name, version), rows))))
            for version in (later, day)
        )
        trial = court.trial(own, other, first=False)
        assert trial.difference is not None
        found = trial.difference
        worse = found.verdict(task.gates().margin) is Verdict.WORSE
        yield {"difference": found.value, "low": found.low, "high": found.high, "worse": float(worse)}


def _answered(window: pa.Table, columns: Mapping[str, pa.Array]) -> pa.Table:
    for name, values in columns.items():
        window = window.set_column(window.column_names.index(name), name, values)
    return window


def errors(nights: Nights, name: str) -> Iterator[dict[str, float]]:
    """What else the gates limit, in each night's window; `over` where their defaults stop it beside the baseline."""
    (baseline,) = [one.name for one in nights.context.use_case.part("candidates").CANDIDATES if one.baseline]
    for day in nights.days:
        holdout = nights.holdout(name, day)
        task = task_of(nights.context.use_case.spec).judged(holdout)
        gates, theirs = task.gates(), by_horizon(task, nights.holdout(baseline, day))
        for horizon, scores in by_horizon(task, holdout).items():
            error = getattr(scores, task.error)
            allowed = max(gates.max_error, getattr(theirs[horizon], task.error) + gates.max_excess)
            yield {task.error: error, task.metric: getattr(scores, task.metric), "over": float(error > allowed)}


def summary(found: Sequence[Mapping[str, float]]) -> dict[str, Any]:
    """The least, the median, the ninth tenth and the greatest of each figure; of what is counted, how many."""
    names = found[0] if found else ()
    columns = {name: [one[name] for one in found] for name in names}
    return {"pairs": len(found)} | {
        name: int(sum(values)) if name in COUNTED else np.quantile(values, [0, 0.5, 0.9, 1]).round(4).tolist()
        for name, values in columns.items()
    }


def main(package: str, first: date, last: date) -> None:
    """Run the nights and print the figures of each recipe."""
    with tempfile.TemporaryDirectory() as folder:
        nights = Nights.run(package, first, last, Path(folder))
        for name in [one.name for one in nights.context.use_case.part("candidates").CANDIDATES]:
            shipped = name in nights.shipped
            print(
                json.dumps(
                    {
                        "recipe": name,
                        "window": summary(list(errors(nights, name))),
                        "rollout": {gap: summary(list(rollout(nights, name, gap))) for gap in GAPS} if shipped else {},
                        "gates": {gap: summary(list(refit(nights, name, gap))) for gap in GAPS} if shipped else {},
                    }
                ),
                flush=True,
            )


if __name__ == "__main__":
    package, *days = sys.argv[1:]
    main(package, *map(date.fromisoformat, days))
