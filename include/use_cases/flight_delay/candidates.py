"""The recipes that compete each night; what was tried and what it gave is in docs/choosing.md."""

from __future__ import annotations

from include.modelling.recipe import Estimator, Recipe
from include.use_cases.flight_delay.feature_contract import INPUTS

SEASONAL = ("day_of_year",)
"""Inputs left out: less than a year has been seen, so the day of the year only tells past days apart."""

COUNTS = tuple(name for name in INPUTS if "_arrivals_" in name and not name.endswith("_2h"))
"""Left out too: how many arrivals a rate rests on. The rates lean to a prior by themselves while they have seen few."""

SEEN = tuple(name for name in INPUTS if name not in SEASONAL + COUNTS)

CANDIDATES = (
    Recipe(
        "hist_gradient_boosting",
        Estimator.HIST_GRADIENT_BOOSTING,
        SEEN,
        {
            "max_iter": 80,
            "learning_rate": 0.1,
            "max_leaf_nodes": 31,
            "min_samples_leaf": 200,
            "l2_regularization": 5.0,
            "max_features": 0.3,
            "max_rows": 180_000,
        },
    ),
    Recipe(
        "logistic_regression",
        Estimator.LOGISTIC_REGRESSION,
        SEEN,
        {"C": 0.01, "max_rows": 40_000},
    ),
    Recipe(
        "historical_rates",
        Estimator.HISTORICAL_RATES,
        ("carrier_late_rate_28d", "dest_late_rate_28d", "origin_hour_late_rate_28d", "carrier_dest_late_rate_28d"),
        baseline=True,
    ),
)
