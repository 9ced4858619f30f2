"""What an ice-cream model must hold: few rows, so wide margins."""

from __future__ import annotations

from include.modelling.recipe import Gates

GATES = Gates(max_calibration_error=0.3, max_slice_drop=0.5, slices=("kiosk",))
