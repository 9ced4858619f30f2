"""Candidates: the estimator of each is made as `train` makes it, and fits nothing."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pyarrow as pa

from formats.portable_model import InputKind
from include.check.finding import Mistake
from include.errors import CodeError
from include.modelling.estimators.estimator import MAX_ROWS, LearningProblem
from include.modelling.estimators.named import named
from include.modelling.inputs import Input
from include.modelling.recipe import Recipe
from include.modelling.tasks.tasks import task_of
from include.quality.contract import Kind
from include.step import Context

FILE = "candidates.py"
LABELS = pa.array(["one", "another"])
"""Stand for those of a multiclass task that names no classes."""


def check_candidates(context: Context) -> Iterator[Mistake]:
    """Findings on parameters that an estimator does not take, and on estimators that are not for the task."""
    for recipe in context.use_case.part("candidates").CANDIDATES:
        yield from _recipe(context, recipe)


def _recipe(context: Context, recipe: Recipe) -> Iterator[Mistake]:
    field, parameters = f"Recipe {recipe.name}", dict(recipe.parameters)
    rows = parameters.pop(MAX_ROWS, 1)
    if type(rows) is not int or rows < 1:
        yield Mistake(FILE, f"{field}: parameters", f"{MAX_ROWS}={rows!r}: is no number of rows; write a whole number")
    try:
        _require_valid(named(recipe.estimator)(_problem(context, recipe), **parameters))
    except CodeError as error:
        yield Mistake(FILE, f"{field}: estimator", str(error).removeprefix(f"{FILE}: "))
    except Exception as error:  # a library's or the use case's own code
        made = Mistake.of(error, context.use_case.spec.package, FILE, f"{field}: parameters")
        yield Mistake(made.where, made.field, f"{made.problem}; correct it in {FILE}")


def _problem(context: Context, recipe: Recipe) -> LearningProblem:
    texts = {
        column.name for column in context.use_case.part("feature_contract").FEATURES.columns if column.kind is Kind.TEXT
    }
    inputs = [Input(name, InputKind.CATEGORY, ("one",)) if name in texts else Input(name) for name in recipe.inputs]
    return LearningProblem(task_of(context.use_case.spec).seen(LABELS), inputs, recipe.seed)


def _require_valid(estimator: Any) -> None:
    """Let scikit-learn look at the values, which it otherwise does at the start of a fit."""
    learner = getattr(estimator, "learner", estimator)
    every = learner.get_params().values() if hasattr(learner, "get_params") else ()
    for one in (learner, *every):
        if hasattr(one, "_parameter_constraints"):
            one._validate_params()
