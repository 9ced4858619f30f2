"""Two recipes: a small forest of trees against the rate of the last seven days."""

from __future__ import annotations

from include.modelling.recipe import Estimator, Recipe
from tests.use_cases.ice_cream.feature_contract import INPUTS

CANDIDATES = (
    Recipe(
        "hist_gradient_boosting",
        Estimator.HIST_GRADIENT_BOOSTING,
        INPUTS,
        {"max_iter": 30, "learning_rate": 0.1, "max_leaf_nodes": 8, "min_samples_leaf": 20},
    ),
    Recipe("historical_rates", Estimator.HISTORICAL_RATES, ("sold_out_rate",), baseline=True),
)
