"""What a model must hold: few rows, so wide margins."""

from __future__ import annotations

from include.modelling.recipe import MulticlassGates

GATES = MulticlassGates(max_calibration_error=0.3, max_slice_drop=0.5, slices=("carrier",), min_slice_rows=100)
