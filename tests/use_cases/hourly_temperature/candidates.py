"""Trees against the mean of the whole day before."""

from __future__ import annotations

from include.modelling.recipe import Estimator, Recipe
from tests.use_cases.hourly_temperature.feature_contract import INPUTS

CANDIDATES = (
    Recipe(
        "hist_gradient_boosting",
        Estimator.HIST_GRADIENT_BOOSTING,
        INPUTS,
        {"max_iter": 40, "max_leaf_nodes": 6, "min_samples_leaf": 30, "learning_rate": 0.1},
    ),
    Recipe("like_yesterday", Estimator.HISTORICAL_RATES, ("day_mean_1d",), baseline=True),
)
