"""The recipes that compete each night; what was tried and what it gave is in docs/choosing.md."""

from __future__ import annotations

from include.recipe import Estimator, Recipe
from include.use_cases.flight_delay.feature_contract import INPUTS

CANDIDATES = (
    Recipe(
        "hist_gradient_boosting",
        Estimator.HIST_GRADIENT_BOOSTING,
        INPUTS,
        {
            "max_iter": 120,
            "learning_rate": 0.1,
            "max_leaf_nodes": 31,
            "min_samples_leaf": 200,
            "l2_regularization": 1.0,
            "max_features": 0.3,
        },
    ),
    Recipe(
        "logistic_regression",
        Estimator.LOGISTIC_REGRESSION,
        INPUTS,
        {"C": 0.01, "max_iter": 60, "max_rows": 100_000},
    ),
    Recipe(
        "historical_rates",
        Estimator.HISTORICAL_RATES,
        ("carrier_late_rate_28d", "dest_late_rate_28d", "origin_hour_late_rate_28d", "carrier_dest_late_rate_28d"),
        baseline=True,
    ),
)
