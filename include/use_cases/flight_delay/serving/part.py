"""The part of flight delay in the server, as `SERVING_ROUTES` names it."""

from __future__ import annotations

from include.use_cases.flight_delay.serving.chain import Chain
from include.use_cases.flight_delay.serving.places import SHAPE
from serving.use_case_part import UseCasePart

PART = UseCasePart("flight_delay", SHAPE, Chain)
