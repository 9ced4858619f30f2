"""The estimator of a name: one of ours, or whatever a dotted path leads to."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from importlib import import_module
from importlib.metadata import packages_distributions
from typing import Any

from formats.names import none_of
from include.errors import CodeError
from include.modelling.recipe import Estimator

OURS = {
    Estimator.HIST_GRADIENT_BOOSTING: "include.modelling.estimators.trees.Trees",
    Estimator.LOGISTIC_REGRESSION: "include.modelling.estimators.linear.Linear",
    Estimator.HISTORICAL_RATES: "include.modelling.estimators.rates.Rates",
    Estimator.CLASS_SHARES: "include.modelling.estimators.shares.Shares",
}
OWN = ("fit", "predict", "to_onnx")
"""What makes a class an estimator of the protocol."""


def named(name: str) -> Callable[..., Any]:
    """What makes an estimator: called with a `LearningProblem` and the recipe's parameters.

    A class with `fit`, `predict` and `to_onnx` is one. Any other class, or a function, makes a scikit-learn estimator.
    Raises `CodeError` for a name that leads nowhere.
    """
    found = _found(OURS.get(name, name))  # type: ignore[call-overload]
    if all(hasattr(found, method) for method in OWN):
        made: Callable[..., Any] = found
        return made
    from include.modelling.estimators.scikit import Scikit

    return partial(Scikit, found)


def distribution(name: str) -> str:
    """The installed distribution that an estimator's name leads into; empty for ours and for a use case's own code."""
    found = packages_distributions().get(name.partition(".")[0], [])
    return found[0] if found and name not in OURS else ""


def _found(path: str) -> Any:
    module, _, attribute = path.rpartition(".")
    if not module:
        raise CodeError(f"candidates.py: estimator {path!r} {none_of(path, OURS)}, or write a class's dotted path")
    try:
        found = getattr(import_module(module), attribute, None)
    except ImportError as error:
        raise CodeError(f"candidates.py: estimator {path!r}: {error}; install it, or correct the path") from None
    if not callable(found):
        raise CodeError(f"candidates.py: estimator {path!r}: {module} has no class or function {attribute}; correct it")
    return found
