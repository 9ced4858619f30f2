"""What a DAG file may know of the deployment when it is parsed: environment variables only, no database."""

from __future__ import annotations

import os
from collections.abc import Mapping

from include.use_case import DEFAULT_USE_CASES, UseCaseSpec, load_use_case

USE_CASES = "NIGHTSHIFT_USE_CASES"
REPLAY = ("AIRFLOW_VAR_NIGHTSHIFT_REPLAY", "NIGHTSHIFT_REPLAY")
TRUE = {"1", "true", "yes", "on", "t", "y"}  # what the steps' settings take for true


def use_cases(environment: Mapping[str, str] = os.environ) -> list[UseCaseSpec]:
    """The use cases that get DAGs: the dotted packages of `NIGHTSHIFT_USE_CASES`, separated by commas."""
    named = environment.get(USE_CASES) or DEFAULT_USE_CASES
    return [load_use_case(package.strip()).spec for package in named.split(",") if package.strip()]


def replay(environment: Mapping[str, str] = os.environ) -> bool:
    """Whether sample data stands in for days after its end, so that the schedule has no last day."""
    values = (environment.get(name, "") for name in REPLAY)
    return next((value for value in values if value), "").lower() in TRUE
