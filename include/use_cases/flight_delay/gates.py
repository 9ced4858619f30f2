"""What a flight-delay model must hold to be promoted."""

from __future__ import annotations

from include.modelling.recipe import Gates

GATES = Gates(slices=("origin", "carrier", "hour"))
