"""What a model must hold: few rows, so wide margins."""

from __future__ import annotations

from formats.rollout_plan import Limits, Plan
from include.modelling.recipe import RegressionGates

GATES = RegressionGates(max_bias=1.0, max_slice_drop=0.5, slices=("airport",), min_slice_rows=100)
ROLLOUT = Plan(limits=Limits(psi=6))  # 72 rows a day: neighbouring nights have had 3.05
