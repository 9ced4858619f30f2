"""The limits that a flight-delay model must keep to be promoted."""

from __future__ import annotations

from include.modelling.recipe import Gates

GATES = Gates(slices=("origin", "carrier", "hour"))
