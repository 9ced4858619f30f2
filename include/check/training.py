"""Training: candidates and gates against the spec and the feature contract."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from formats.rollout_plan import Plan
from include.check.finding import Mistake
from include.check.parts import Parts
from include.errors import CodeError
from include.modelling.estimators.named import named
from include.modelling.recipe import Estimator, Recipe
from include.modelling.tasks.tasks import task_of
from include.predictions.lookup import Lookup
from include.quality.contract import Column, Contract, Kind
from include.use_case import UseCase, UseCaseSpec

CANDIDATES, GATES, LOOKUP = "candidates.py", "gates.py", "lookup.py"
NUMBERS = (Kind.NUMBER, Kind.INTEGER, Kind.FLAG)


def check_training(use_case: UseCase, parts: Parts) -> Iterator[Mistake]:
    """Recipes, slices, the rollout's plan and the lookup with names that do not exist."""
    spec = use_case.spec
    if spec.holdout_days >= spec.history_days:
        problem = f"leaves none of history_days={spec.history_days} to learn from; write fewer"
        yield Mistake("spec.py", f"holdout_days={spec.holdout_days}", problem)
    features = parts.value("feature_contract", "FEATURES", Contract)
    columns = {column.name: column for column in features.columns} if features else None
    recipes = parts.value("candidates", "CANDIDATES", (list, tuple))
    if recipes is not None:
        yield from _recipes(spec, recipes, columns)
    gates = parts.value("gates", "GATES", task_of(spec).gates)
    parts.value("gates", "ROLLOUT", Plan)
    if gates is not None and columns is not None:
        for name in gates.slices:
            if name not in columns:
                yield Mistake(GATES, "GATES.slices", f"{name} is no column of feature_contract.py; name one of them")
    lookup = parts.value("lookup", "LOOKUP", Lookup)
    if lookup is not None:
        yield from _lookup(spec, lookup)


def _recipes(spec: UseCaseSpec, recipes: tuple[Recipe, ...], columns: Mapping[str, Column] | None) -> Iterator[Mistake]:
    if odd := next((one for one in recipes if not isinstance(one, Recipe)), None):
        yield Mistake(CANDIDATES, "CANDIDATES", f"holds a {type(odd).__name__}; write Recipe(…)")
        return
    names = [recipe.name for recipe in recipes]
    if missing := [name for name in spec.candidates if name not in names]:
        yield Mistake(CANDIDATES, "CANDIDATES", f"lacks {missing[0]}, which spec.py names in candidates; add it there")
    if more := [name for name in names if name not in spec.candidates]:
        yield Mistake("spec.py", "candidates", f"lacks {more[0]}, which {CANDIDATES} has; add it, or take it out there")
    if twice := next((name for name in names if names.count(name) > 1), None):
        yield Mistake(CANDIDATES, "CANDIDATES", f"has {twice} twice; give each recipe a name of its own")
    if not any(recipe.baseline for recipe in recipes):
        yield Mistake(CANDIDATES, "CANDIDATES", "has no baseline, which the first champion must beat; mark one")
    if recipes and all(recipe.baseline for recipe in recipes):
        yield Mistake(CANDIDATES, "CANDIDATES", "has baselines only, which are never shipped; add a recipe")
    for recipe in recipes:
        yield from _recipe(recipe, columns)


def _recipe(recipe: Recipe, columns: Mapping[str, Column] | None) -> Iterator[Mistake]:
    field = f"Recipe {recipe.name}"
    try:
        named(recipe.estimator)
    except CodeError as error:
        yield Mistake(CANDIDATES, f"{field}: estimator", str(error).removeprefix(f"{CANDIDATES}: "))
    if not isinstance(recipe.inputs, tuple) or not recipe.inputs:
        yield Mistake(CANDIDATES, f"{field}: inputs", f"{recipe.inputs!r} is no tuple of columns; write ('column', …)")
        return
    try:
        recipe.to_json()
    except (TypeError, ValueError) as error:
        yield Mistake(CANDIDATES, f"{field}: parameters", f"cannot be written as JSON ({error}); use plain values")
    if twice := next((name for name in recipe.inputs if recipe.inputs.count(name) > 1), None):
        yield Mistake(CANDIDATES, f"{field}: inputs", f"names {twice} twice; leave one out")
    for name in recipe.inputs if columns is not None else ():
        column = columns.get(name) if columns else None
        if column is None:
            yield Mistake(CANDIDATES, f"{field}: inputs", f"{name} is no column of feature_contract.py; add it there")
        elif column.kind not in (*NUMBERS, Kind.TEXT):
            yield Mistake(CANDIDATES, f"{field}: inputs", f"{name} is a {column.kind}, no number; make one of it")
        elif recipe.estimator is Estimator.HISTORICAL_RATES and column.kind not in NUMBERS:
            yield Mistake(CANDIDATES, f"{field}: inputs", f"{name} is a {column.kind}, no rate; name columns of rates")


def _lookup(spec: UseCaseSpec, lookup: Lookup) -> Iterator[Mistake]:
    shown = (spec.key, *spec.carried)
    asked = [("groups", name) for name in lookup.groups] + ([("order", lookup.order)] if lookup.order else [])
    for field, name in asked:
        if name not in shown:
            yield Mistake(LOOKUP, f"LOOKUP.{field}", f"{name} is not among spec.py's carried columns; add it there")
