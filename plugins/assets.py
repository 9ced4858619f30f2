"""The assets by which a use case's DAGs follow each other: datasets, tables, the champion."""

from __future__ import annotations

from airflow.sdk import Asset

from include.step_specs import Data, StepSpec
from include.use_case import UseCaseSpec

FOLLOWED = (Data.RAW, Data.FEATURES, Data.CHAMPION, Data.PREDICTIONS, Data.INTRADAY_PREDICTIONS)
"""What another DAG may wait for; `table_asset` is the asset of a table."""


def asset(spec: UseCaseSpec, name: str) -> Asset:
    """A dataset of the lake, a table or the champion, that other DAGs can follow; its events say rows and metrics."""
    return Asset(name=f"{spec.name}/{name}", uri=f"x-nightshift://{spec.name}/{name}", group="nightshift")


def table_asset(spec: UseCaseSpec, table: str) -> Asset:
    """A table that a worker writes; it has an event after each of the worker's shifts."""
    return asset(spec, Data.TABLES.replace("{table}", table))


def written(spec: UseCaseSpec, step: StepSpec) -> list[Asset]:
    """The assets that a step updates."""
    return [asset(spec, name) for data in step.writes if data in FOLLOWED for name in data.names(spec)]
