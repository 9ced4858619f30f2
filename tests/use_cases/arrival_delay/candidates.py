"""Trees and a linear model against the delay of other flights to the same place."""

from __future__ import annotations

from include.modelling.recipe import Estimator, Recipe
from tests.use_cases.arrival_delay.feature_contract import INPUTS

CANDIDATES = (
    Recipe(
        "hist_gradient_boosting",
        Estimator.HIST_GRADIENT_BOOSTING,
        INPUTS,
        {"max_iter": 30, "max_leaf_nodes": 8, "min_samples_leaf": 20},
    ),
    Recipe(
        "ridge",
        "tests.use_cases.arrival_delay.models.ridge",
        ("dep_delay", "hour", "distance", "dest_delay"),
        {"alpha": 1.0, "tolerance": 1e-4},
    ),
    Recipe("as_late_as_others", Estimator.HISTORICAL_RATES, ("dest_delay",), baseline=True),
)
