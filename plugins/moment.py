"""The moment that a run within the day is about."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from datetime import datetime, timedelta
from typing import Any

from include.use_case import UseCaseSpec


def moment(wanted: str | None, events: Mapping[Any, Collection[Any]], run_after: datetime) -> datetime:
    """The one asked for, else the newest end of the intervals whose runs triggered this one, else its own start."""
    if wanted:
        return datetime.fromisoformat(wanted)
    runs = [event.source_dag_run for of_asset in events.values() for event in of_asset]
    return max((run.data_interval_end or run.run_after for run in runs if run is not None), default=run_after)


def data_day_at(spec: UseCaseSpec, at: datetime) -> str:
    """The data day that contains a moment."""
    return (spec.newest_day_over(at) + timedelta(days=1)).isoformat()
