"""The judgement: which candidate is shipped, by which numbers, and why (see docs/choosing.md)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from include.errors import DataError
from include.modelling.evaluation import PairCounts, Scores, draws, groups
from include.modelling.examples import HORIZON, PROBABILITY
from include.modelling.inputs import Matrix
from include.modelling.labels import DATE, LABEL
from include.modelling.recipe import Gates, Recipe
from include.modelling.training import by_horizon, slice_masks

BASELINE = "is a baseline, which is never shipped"


class Verdict(StrEnum):
    """How a candidate's AUC compares with its opponent's, beyond what resampled days explain."""

    BETTER = "better"
    EQUAL = "equal"
    WORSE = "worse"


@dataclass(frozen=True)
class Difference:
    """A difference in AUC, averaged over horizons, and the interval that `confidence` of the resampled days give."""

    auc: float
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

    `collapsed` has every slice that the one line among the failures counts.
    """

    name: str
    fingerprint: str
    auc: float
    calibration_error: float
    scores: Mapping[str, Scores]
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

    def __init__(self, gates: Gates, rows: pa.Table, seed: int) -> None:
        self.gates = gates
        self.rows = rows
        self.labels: Matrix = rows[LABEL].to_numpy()
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
        scores = by_horizon(contender.holdout)
        error = _calibration_error(scores)
        allowed = self.gates.max_calibration_error
        difference, verdict = None, None
        collapsed: dict[str, Difference] = {}
        failures = []
        if opponent is not None:
            self._same_rows(opponent)
            difference = self._difference(contender, opponent)
            verdict = difference.verdict(self.gates.auc_margin)
            failures += _auc_failures(difference, verdict, opponent.name, first=first)
            collapsed, slices = self._collapsed(contender, opponent)
            failures += _slice_failures(collapsed, slices)
            # When the share of positives jumps, no model is calibrated; then a candidate must not be worse.
            theirs = _calibration_error(by_horizon(opponent.holdout)) + self.gates.max_calibration_excess
            allowed = max(allowed, theirs)
        if error > allowed:
            failures.append(f"calibration error {error:.3f} is above {allowed:.3f}")
        if contender.recipe.baseline:
            failures = [BASELINE]
        auc = float(np.mean([figures.auc for figures in scores.values()])) if scores else float("nan")
        return Judged(
            contender.name,
            contender.recipe.fingerprint,
            auc,
            error,
            scores,
            difference,
            verdict,
            tuple(failures),
            collapsed,
        )

    def _same_rows(self, contender: Contender) -> None:
        names = [name for name in self.rows.column_names if name != PROBABILITY]
        if not contender.holdout.select(names).equals(self.rows.select(names)):
            raise DataError(f"{contender.name} was judged on other rows than its rivals; train it again with --force")

    def _difference(self, mine: Contender, theirs: Contender) -> Difference:
        own, other = (contender.holdout[PROBABILITY].to_numpy() for contender in (mine, theirs))
        found = [self._compare(own, other, mask) for mask in self.horizons.values()]
        points, rounds = zip(*(each for each in found if each is not None), strict=True)
        return self._interval(float(np.mean(points)), np.mean(rounds, axis=0))

    def _collapsed(self, mine: Contender, theirs: Contender) -> tuple[dict[str, Difference], int]:
        """The slices on which this one falls too far below the opponent, by name, and how many slices were compared."""
        own, other = (contender.holdout[PROBABILITY].to_numpy() for contender in (mine, theirs))
        fallen, compared = {}, 0
        for name, mask in self.slices.items():
            if (pair := self._compare(own, other, mask)) is None:
                continue
            compared += 1
            fall = self._interval(*pair)
            if fall.auc < -self.gates.max_slice_drop and fall.high < 0:
                fallen[name] = fall
        return fallen, compared

    def _compare(self, own: Matrix, other: Matrix, mask: npt.NDArray[np.bool_]) -> tuple[float, Matrix] | None:
        labels, days = self.labels[mask], self.days[mask]
        if labels.size == 0 or labels.min() == labels.max():
            return None
        weights = self.weights[:, : int(days.max()) + 1]
        mine, theirs = (PairCounts.of(labels, values[mask], days) for values in (own, other))
        return mine.auc() - theirs.auc(), mine.aucs(weights) - theirs.aucs(weights)

    def _interval(self, point: float, rounds: Matrix) -> Difference:
        tail = (1 - self.gates.confidence) / 2
        low, high = np.nanquantile(rounds, [tail, 1 - tail])
        return Difference(point, float(low), float(high))


def judge(
    gates: Gates, contenders: Sequence[Contender], opponent: Contender | None, *, first: bool, seed: int
) -> Judgement:
    """Judge every candidate by the gates and name the winner.

    `opponent` is the champion's recipe, or the baseline on the `first` night.
    """
    court = Court(gates, contenders[0].holdout, seed)
    trials = tuple(court.trial(contender, opponent, first=first) for contender in contenders)
    reigning = None if first or opponent is None else opponent.recipe.fingerprint
    able = [trial for contender, trial in zip(contenders, trials, strict=True) if not contender.recipe.baseline]
    winner, reason = _winner([trial for trial in able if not trial.failures], reigning)
    best = winner or max(able, key=lambda trial: trial.auc, default=None)
    return Judgement(best.name if best else None, winner is not None, reason, trials)


def _winner(fit: Sequence[Judged], reigning: str | None) -> tuple[Judged | None, str]:
    if not fit:
        return None, "no candidate passes the gates"
    best = max(fit, key=lambda trial: trial.auc)
    if reigning is None:
        return best, f"{best.name} has the best AUC of those that pass the gates"
    better = [trial for trial in fit if trial.verdict is Verdict.BETTER]
    if better:
        best = max(better, key=lambda trial: trial.auc)
        return best, f"{best.name} is better than the champion's recipe beyond the noise of days"
    for trial in fit:
        if trial.fingerprint == reigning:
            return (
                trial,
                f"no candidate is better beyond the noise of days, so the champion's recipe {trial.name} stays",
            )
    return best, f"{best.name} is no worse than the champion's recipe, which is not among tonight's candidates"


def _calibration_error(scores: Mapping[str, Scores]) -> float:
    return max((figures.calibration_error for figures in scores.values()), default=0.0)


def _auc_failures(difference: Difference, verdict: Verdict, opponent: str, *, first: bool) -> list[str]:
    figures = f"AUC {difference.auc:+.3f} ({difference.low:+.3f} … {difference.high:+.3f}) against {opponent}"
    if first and verdict is not Verdict.BETTER:
        return [f"does not beat the baseline: {figures}"]
    return [f"not shown to be as good: {figures}"] if verdict is Verdict.WORSE else []


def _slice_failures(collapsed: Mapping[str, Difference], slices: int) -> list[str]:
    if not collapsed:
        return []
    name, fall = min(collapsed.items(), key=lambda each: each[1].auc)
    return [f"AUC collapses on {len(collapsed)} of {slices} slices, worst on {name} by {-fall.auc:.3f}"]
