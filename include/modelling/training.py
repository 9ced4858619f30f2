"""Training one candidate: fitted and judged on time-ordered folds, then fitted again on everything known."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from include.modelling.estimators.estimator import Estimating, LearningProblem, evenly, fit, side_by_side
from include.modelling.evaluation import groups
from include.modelling.examples import HORIZON, Examples, Fold, Ingredients, folds, load
from include.modelling.labels import DATE, LABEL
from include.modelling.recipe import Recipe
from include.modelling.tasks.learning_task import LearningTask
from include.modelling.tasks.tasks import task_of
from include.step import Context
from include.use_case import UseCaseSpec

FOLDS = 3
EARLIER_FOLD_ROWS = 20_000
"""Folds before the judging window are for the record only, so they are fitted on at most this many rows, evenly."""
IMPORTANCE_ROWS = 2_000
_SHUFFLED_AT_ONCE = 10  # one call of many rows is far cheaper than many calls of few


@dataclass(frozen=True)
class JudgedFold:
    """A fold and its figures by horizon."""

    fold: Fold
    fitted_rows: int
    scores: Mapping[str, Any]


@dataclass(frozen=True)
class Trained:
    """A candidate after training.

    `backtest` was fitted up to the judging window and made the predictions in `holdout`; `model` was fitted through D.
    """

    recipe: Recipe
    examples: Examples
    backtest: Estimating
    model: Estimating
    holdout: pa.Table
    folds: Sequence[JudgedFold]
    importance: Mapping[str, float]

    @property
    def window(self) -> Fold:
        """The fold that judges the candidate."""
        return self.folds[-1].fold


def plan(spec: UseCaseSpec, made_of: Ingredients, day: date) -> list[Fold]:
    """The folds of data day `day`; the last is its judging window."""
    return folds(spec, made_of.first_day, day, FOLDS)


def examples_for(
    context: Context, made_of: Ingredients, recipe: Recipe, planned: Sequence[Fold], day: date
) -> Examples:
    """What a recipe learns from, and is judged by, in the planned folds and through data day `day`."""
    slices = context.use_case.part("gates").GATES.slices
    return load(context, made_of, recipe.inputs, slices, [fold.fit_through for fold in planned] + [day])


def train_candidate(recipe: Recipe, examples: Examples, planned: Sequence[Fold], day: date) -> Trained:
    """The recipe fitted and judged for data day `day`; the same examples give the same models, bit for bit."""
    *earlier, window = planned
    model, backtest, *older = side_by_side(
        recipe,
        # The longest first, so that no long one is left for a single core.
        partial(_fit, recipe, examples, day),
        partial(_fit, recipe, examples, window.fit_through),
        *(partial(_fit, recipe, examples, fold.fit_through, EARLIER_FOLD_ROWS) for fold in earlier),
    )
    judged = [_judged(examples, fold, fitted) for fold, fitted in zip(earlier, older, strict=True)]
    holdout = _predicted(examples, window, backtest)
    judged.append(JudgedFold(window, examples.known[window.fit_through], by_horizon(examples.task, holdout)))
    return Trained(recipe, examples, backtest, model, holdout, judged, _importance(recipe, examples, window, backtest))


def backtest_holdout(context: Context, made_of: Ingredients, recipe: Recipe, day: date) -> pa.Table:
    """What the recipe, fitted up to the judging window of `day`, predicts in it: a candidate's `holdout.parquet`."""
    window = plan(context.use_case.spec, made_of, day)[-1]
    examples = examples_for(context, made_of, recipe, [window], day)
    return _predicted(examples, window, _fit(recipe, examples, window.fit_through))


def holdout_columns(spec: UseCaseSpec, slices: Sequence[str]) -> list[str]:
    """The columns of a hold-out."""
    return list(dict.fromkeys([spec.key, HORIZON, DATE, *slices, LABEL, *task_of(spec).predicted]))


def by_horizon(task: LearningTask, holdout: pa.Table) -> dict[str, Any]:
    """The figures of each horizon whose labels differ."""
    return _scores(task, holdout, groups(holdout[HORIZON]))


def by_slice(task: LearningTask, holdout: pa.Table, slices: Sequence[str], min_rows: int) -> dict[str, Any]:
    """The figures of each horizon and slice with enough rows whose labels differ, named `horizon/column/value`."""
    return _scores(task, holdout, slice_masks(holdout, slices, min_rows))


def slice_masks(holdout: pa.Table, slices: Sequence[str], min_rows: int) -> Iterator[tuple[str, npt.NDArray[np.bool_]]]:
    """Each horizon and slice with enough rows, named `horizon/column/value`, with the mask of its rows."""
    cuts = [(column, value, there) for column in slices for value, there in groups(holdout[column])]
    for horizon, here in groups(holdout[HORIZON]):
        for column, value, there in cuts:
            if (mask := here & there).sum() >= min_rows:
                yield f"{horizon}/{column}/{value}", mask


def _scores(
    task: LearningTask, holdout: pa.Table, parts: Iterable[tuple[str, npt.NDArray[np.bool_]]]
) -> dict[str, Any]:
    labels, answers = task.labels(holdout[LABEL]), task.answers(holdout)
    scores = {name: task.score(labels[mask], answers[mask]) for name, mask in parts}
    return {name: figures for name, figures in scores.items() if figures is not None}


def _fit(recipe: Recipe, examples: Examples, cutoff: date, max_rows: int | None = None) -> Estimating:
    known = examples.known[cutoff]
    taken = evenly(known, max_rows or known)
    problem = LearningProblem(examples.task, examples.inputs, recipe.seed)
    return fit(recipe, problem, examples.matrix[:known][taken], examples.labels[:known][taken])


def _judged(examples: Examples, fold: Fold, model: Estimating) -> JudgedFold:
    fitted = min(examples.known[fold.fit_through], EARLIER_FOLD_ROWS)
    return JudgedFold(fold, fitted, by_horizon(examples.task, _predicted(examples, fold, model)))


def _predicted(examples: Examples, fold: Fold, model: Estimating) -> pa.Table:
    where = examples.judged(fold)
    rows = examples.rows.take(where)
    rows = rows.append_column(LABEL, examples.task.written(examples.labels[where]))
    for name, column in examples.task.columns(model.predict(examples.matrix[where])).items():
        rows = rows.append_column(name, column)
    return rows


def _importance(recipe: Recipe, examples: Examples, window: Fold, model: Estimating) -> dict[str, float]:
    """How much worse the task's metric gets on a sample of the window when one input is shuffled, greatest first.

    An estimator that says how much its inputs matter is believed.
    """
    task = examples.task
    if own := getattr(model, "importance", None):
        return dict(sorted(own(examples.inputs).items(), key=lambda each: -each[1]))
    random = np.random.default_rng(recipe.seed)
    where = examples.judged(window)
    where = np.sort(random.permutation(where)[:IMPORTANCE_ROWS])
    matrix, labels = examples.matrix[where], examples.labels[where]
    if (whole := task.score(labels, model.predict(matrix))) is None:
        return {}
    falls = {}
    for start in range(0, len(examples.inputs), _SHUFFLED_AT_ONCE):
        names = [wanted.name for wanted in examples.inputs[start : start + _SHUFFLED_AT_ONCE]]
        shuffled = np.tile(matrix, (len(names), 1, 1))
        for place in range(len(names)):
            shuffled[place, :, start + place] = random.permutation(matrix[:, start + place])
        answers = model.predict(shuffled.reshape(-1, matrix.shape[1]))
        for name, answer in zip(names, np.split(answers, len(names)), strict=True):
            fallen = getattr(whole, task.metric) - getattr(task.score(labels, answer), task.metric)
            falls[name] = fallen * task.direction
    return dict(sorted(falls.items(), key=lambda fall: -fall[1]))
