"""Trees and a logistic regression against the shares of the classes."""

from __future__ import annotations

from include.modelling.recipe import Estimator, Recipe
from tests.use_cases.arrival_class.feature_contract import INPUTS

CANDIDATES = (
    Recipe(
        "hist_gradient_boosting",
        Estimator.HIST_GRADIENT_BOOSTING,
        INPUTS,
        {"max_iter": 20, "max_leaf_nodes": 6, "min_samples_leaf": 20},
    ),
    Recipe("logistic_regression", Estimator.LOGISTIC_REGRESSION, INPUTS),
    Recipe("class_shares", Estimator.CLASS_SHARES, ("hour",), baseline=True),
)
