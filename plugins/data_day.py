"""Which data day a run is about."""

from __future__ import annotations

from datetime import date, datetime, timedelta

from include.use_case import UseCaseSpec


def newest_day_over(spec: UseCaseSpec, moment: datetime) -> date:
    """The newest data day that is over at a moment."""
    day = moment.astimezone(spec.zone).date()
    while spec.day_end(day) > moment:
        day -= timedelta(days=1)
    return day


def data_day(spec: UseCaseSpec, wanted: str | None, interval_end: datetime | None, run_after: datetime) -> str:
    """A run's data day: the one asked for, else the newest that is over when its interval ends (or it may start)."""
    return wanted or newest_day_over(spec, interval_end or run_after).isoformat()
