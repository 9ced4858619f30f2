"""The judgement: which candidate is shipped, by which numbers, and why (see docs/choosing.md)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from include.errors import DataError
from include.modelling.evaluation import draws, groups
from include.modelling.examples import HORIZON
from include.modelling.inputs import Matrix
from include.modelling.labels import DATE, LABEL
from include.modelling.recipe import AnyGates, Recipe
from include.modelling.tasks.learning_task import LearningTask
from include.modelling.training import by_horizon, slice_masks

BASELINE = "is a baseline, which is never shipped"


class Verdict(StrEnum):
    """How a candidate's metric compares with its opponent's, beyond what resampled days explain."""

    BETTER = "better"
    EQUAL = "equal"
    WORSE = "worse"


@dataclass(frozen=True)
class Difference:
    """How much better, averaged over horizons, and the interval that `confidence` of the resampled days give."""

    value: float
    low: float
    high: float

    def verdict(self, margin: float) -> Verdict:
        """Better: the interval is above 0. Equal: it stays above minus the margin. Worse: it does not."""
        if self.low > 0:
            return Verdict.BETTER
        return Verdict.EQUAL if self.low >= -margin else Verdict.WORSE


@dataclass(frozen=True)
class Contender:
    """A recipe and what it predicted for the judging window, fitted up to that window's start."""

    name: str
    recipe: Recipe
    holdout: pa.Table


@dataclass(frozen=True)
class Judged:
    """A candidate before the gates; `failures` says in plain words which it does not pass.

    `value` is the task's metric, averaged over horizons, and `error` the greatest of what the gates limit besides it.
    `collapsed` has every slice that the one line among the failures counts.
    """

    name: str
    fingerprint: str
    value: float
    error: float
    scores: Mapping[str, Any]
    difference: Difference | None
    verdict: Verdict | None
    failures: tuple[str, ...] = ()
    collapsed: Mapping[str, Difference] = field(default_factory=dict)


@dataclass(frozen=True)
class Judgement:
    """The winner, which is promoted, or the best of the losers, and the reason in one sentence."""

    challenger: str | None
    promoted: bool
    reason: str
    trials: tuple[Judged, ...]


class Court:
    """The judging window: its rows, the gates, and the draws of days that all candidates share."""

    def __init__(self, task: LearningTask, gates: AnyGates, rows: pa.Table, seed: int) -> None:
        self.task = task
        self.gates = gates
        self.rows = rows
        self.labels: Matrix = task.labels(rows[LABEL])
        _, days = np.unique(rows[DATE].to_numpy(), return_inverse=True)
        self.days: npt.NDArray[np.intp] = days.astype(np.intp)
        self.weights = draws(int(self.days.max()) + 1, gates.bootstrap_rounds, seed)
        self.horizons = dict(groups(rows[HORIZON]))
        self.slices = dict(slice_masks(rows, gates.slices, gates.min_slice_rows))

    def trial(self, contender: Contender, opponent: Contender | None, *, first: bool) -> Judged:
        """The candidate's figures beside its opponent's, and the gates it fails.

        `first` asks for a clear win, as there is no champion yet.
        """
        self._same_rows(contender)
        task = self.task
        scores = by_horizon(task, contender.holdout)
        error = self._error(scores)
        allowed = self.gates.max_error
        difference, verdict = None, None
        collapsed: dict[str, Difference] = {}
        failures = []
        if opponent is not None:
            self._same_rows(opponent)
            difference = self._difference(contender, opponent)
            verdict = difference.verdict(self.gates.margin)
            failures += _failures(task, difference, verdict, opponent.name, first=first)
            collapsed, slices = self._collapsed(contender, opponent)
            failures += _slice_failures(task, collapsed, slices)
            # When the share of positives jumps, no model is calibrated; then a candidate must not be worse.
            theirs = self._error(by_horizon(task, opponent.holdout)) + self.gates.max_excess
            allowed = max(allowed, theirs)
        if error > allowed:
            failures.append(f"{task.erring} {error:.3f} is above {allowed:.3f}")
        if contender.recipe.baseline:
            failures = [BASELINE]
        values = [getattr(figures, task.metric) for figures in scores.values()]
        value = float(np.mean(values)) if values else float("nan")
        return Judged(
            contender.name,
            contender.recipe.fingerprint,
            value,
            error,
            scores,
            difference,
            verdict,
            tuple(failures),
            collapsed,
        )

    def _same_rows(self, contender: Contender) -> None:
        names = [name for name in self.rows.column_names if name not in self.task.predicted]
        if not contender.holdout.select(names).equals(self.rows.select(names)):
            raise DataError(f"{contender.name} was judged on other rows than its rivals; train it again with --force")

    def _difference(self, mine: Contender, theirs: Contender) -> Difference:
        own, other = (self.task.answers(contender.holdout) for contender in (mine, theirs))
        found = [self._compare(own, other, mask) for mask in self.horizons.values()]
        points, rounds = zip(*(each for each in found if each is not None), strict=True)
        return self._interval(float(np.mean(points)), np.mean(rounds, axis=0))

    def _collapsed(self, mine: Contender, theirs: Contender) -> tuple[dict[str, Difference], int]:
        """The slices on which this one falls too far below the opponent, by name, and how many slices were compared."""
        own, other = (self.task.answers(contender.holdout) for contender in (mine, theirs))
        fallen, compared = {}, 0
        for name, mask in self.slices.items():
            if (pair := self._compare(own, other, mask)) is None:
                continue
            compared += 1
            fall = self._interval(*pair)
            if fall.value < -self.gates.max_slice_drop and fall.high < 0:
                fallen[name] = fall
        return fallen, compared

    def _compare(self, own: Matrix, other: Matrix, mask: npt.NDArray[np.bool_]) -> tuple[float, Matrix] | None:
        days = self.days[mask]
        weights = self.weights[:, : int(days.max(initial=0)) + 1]
        return self.task.compare(self.labels[mask], own[mask], other[mask], days, weights)

    def _error(self, scores: Mapping[str, Any]) -> float:
        return max((getattr(figures, self.task.error) for figures in scores.values()), default=0.0)

    def _interval(self, point: float, rounds: Matrix) -> Difference:
        tail = (1 - self.gates.confidence) / 2
        low, high = np.nanquantile(rounds, [tail, 1 - tail])
        return Difference(point, float(low), float(high))


def judge(
    task: LearningTask,
    gates: AnyGates,
    contenders: Sequence[Contender],
    opponent: Contender | None,
    *,
    first: bool,
    seed: int,
) -> Judgement:
    """Judge every candidate by the gates and name the winner.

    `opponent` is the champion's recipe, or the baseline on the `first` night.
    """
    court = Court(task, gates, contenders[0].holdout, seed)
    trials = tuple(court.trial(contender, opponent, first=first) for contender in contenders)
    reigning = None if first or opponent is None else opponent.recipe.fingerprint
    able = [trial for contender, trial in zip(contenders, trials, strict=True) if not contender.recipe.baseline]
    winner, reason = _winner(task, [trial for trial in able if not trial.failures], reigning)
    best = winner or max(able, key=lambda trial: _merit(task, trial), default=None)
    return Judgement(best.name if best else None, winner is not None, reason, trials)


def _merit(task: LearningTask, trial: Judged) -> float:
    return task.direction * trial.value


def _winner(task: LearningTask, fit: Sequence[Judged], reigning: str | None) -> tuple[Judged | None, str]:
    if not fit:
        return None, "no candidate passes the gates"
    best = max(fit, key=lambda trial: _merit(task, trial))
    if reigning is None:
        return best, f"{best.name} has the best {task.shown} of those that pass the gates"
    better = [trial for trial in fit if trial.verdict is Verdict.BETTER]
    if better:
        best = max(better, key=lambda trial: _merit(task, trial))
        return best, f"{best.name} is better than the champion's recipe beyond the noise of days"
    for trial in fit:
        if trial.fingerprint == reigning:
            return (
                trial,
                f"no candidate is better beyond the noise of days, so the champion's recipe {trial.name} stays",
            )
    return best, f"{best.name} is no worse than the champion's recipe, which is not among tonight's candidates"


def _failures(task: LearningTask, difference: Difference, verdict: Verdict, opponent: str, *, first: bool) -> list[str]:
    point, low, high = map(task.gap, (difference.value, difference.low, difference.high))
    figures = f"{task.compared} {point} ({low} … {high}) against {opponent}"
    if first and verdict is not Verdict.BETTER:
        return [f"does not beat the baseline: {figures}"]
    return [f"not shown to be as good: {figures}"] if verdict is Verdict.WORSE else []


def _slice_failures(task: LearningTask, collapsed: Mapping[str, Difference], slices: int) -> list[str]:
    if not collapsed:
        return []
    name, fall = min(collapsed.items(), key=lambda each: each[1].value)
    worst = task.gap(fall.value).lstrip("-")
    return [f"{task.shown} collapses on {len(collapsed)} of {slices} slices, worst on {name} by {worst}"]
