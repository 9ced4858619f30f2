"""Which data day a run is about, and the schedule that makes one run for each."""

from __future__ import annotations

from datetime import date, datetime, time, timedelta
from typing import Any
from zoneinfo import ZoneInfo

from airflow.timetables.base import DagRunInfo, DataInterval, TimeRestriction
from airflow.timetables.interval import CronDataIntervalTimetable
from pendulum import DateTime, instance

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


class DataDays(CronDataIntervalTimetable):  # type: ignore[misc]
    """Data intervals by cron, of the local days from `first` to `last` (None: no end) only.

    The bounds are here, not in a DAG's `start_date` and `end_date`: a run asked for by hand today, about a day of last
    year, would have no task then, and Airflow would call it a success.
    """

    def __init__(self, cron: str, timezone: str, first: date, last: date | None) -> None:
        super().__init__(cron, timezone=timezone)
        self.zone = ZoneInfo(timezone)
        self.first = first
        self.last = last

    @property
    def summary(self) -> str:
        """The schedule as the list of DAGs shows it."""
        return f"{self._expression}, {self.zone.key}"

    def next_dagrun_info(
        self, *, last_automated_data_interval: DataInterval | None, restriction: TimeRestriction
    ) -> DagRunInfo | None:
        """The next run within the bounds."""
        return super().next_dagrun_info(
            last_automated_data_interval=last_automated_data_interval, restriction=self._bounded(restriction)
        )

    def _bounded(self, restriction: TimeRestriction) -> TimeRestriction:
        first = self._instant(self.first, time.min)
        earliest = max(restriction.earliest or first, first)
        latest = restriction.latest
        if self.last is not None:
            last = self._instant(self.last, time.max)
            latest = min(latest or last, last)
        return TimeRestriction(earliest, latest, restriction.catchup)

    def _instant(self, day: date, at: time) -> DateTime:
        return instance(datetime.combine(day, at, tzinfo=self.zone))

    def serialize(self) -> dict[str, Any]:
        """The timetable as JSON."""
        return {
            "cron": self._expression,
            "timezone": self.zone.key,
            "first": self.first.isoformat(),
            "last": self.last and self.last.isoformat(),
        }

    @classmethod
    def deserialize(cls, data: dict[str, Any]) -> DataDays:
        """The timetable from `serialize`'s JSON."""
        last = data["last"]
        return cls(
            data["cron"],
            data["timezone"],
            date.fromisoformat(data["first"]),
            date.fromisoformat(last) if last else None,
        )
