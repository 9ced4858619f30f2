"""Which data day a run is about, and the schedule that makes one run for each."""

from __future__ import annotations

from datetime import UTC, date, datetime, time
from typing import Any
from zoneinfo import ZoneInfo

from airflow.timetables.base import DagRunInfo, DataInterval, TimeRestriction
from airflow.timetables.interval import CronDataIntervalTimetable
from pendulum import DateTime, instance

from include.use_case import UseCaseSpec


def data_day(spec: UseCaseSpec, wanted: str | None, interval_end: datetime | None, run_after: datetime) -> str:
    """A run's data day: the requested one, else the newest that is over when its interval ends (or it may start)."""
    return wanted or spec.newest_day_over(interval_end or run_after).isoformat()


def named_day(instant: datetime, zone: ZoneInfo) -> date:
    """The calendar day that a date typed into Airflow names: the zone's day, or UTC's at UTC's midnight.

    Airflow turns a bare `2013-09-01` into that midnight, which is still 31 August in New York.
    """
    in_utc = instant.astimezone(UTC)
    return in_utc.date() if in_utc.time() == time.min else instant.astimezone(zone).date()


class DataDays(CronDataIntervalTimetable):  # type: ignore[misc]
    """Data intervals by cron, of the local days from `first` to `last` (None: no end) only.

    A logical date names its calendar day, and that is the data day, in a schedule, a backfill or a run by hand.
    The bounds are here, not in a DAG's `start_date` and `end_date`: a run asked for by hand today, about a day of last
    year, would have no task then, and Airflow would call it a success.
    """

    def __init__(self, cron: str, timezone: str, first: date, last: date | None) -> None:
        super().__init__(cron, timezone=timezone)
        self.cron = cron
        self.zone = ZoneInfo(timezone)
        self.first = first
        self.last = last

    @property
    def summary(self) -> str:
        """The schedule as the list of DAGs shows it."""
        return f"{self.cron}, {self.zone.key}"

    def infer_manual_data_interval(self, *, run_after: DateTime) -> DataInterval:
        """The interval of the day that a run by hand names; while that day lasts, of the newest day that is over."""
        day = self._instant(named_day(run_after, self.zone), time.min)
        from_then_on = TimeRestriction(earliest=day, latest=None, catchup=True)
        named = super().next_dagrun_info(last_automated_data_interval=None, restriction=from_then_on)
        if named is None or named.data_interval is None or named.data_interval.end > datetime.now(UTC):
            return super().infer_manual_data_interval(run_after=run_after)
        return named.data_interval

    def next_dagrun_info(
        self, *, last_automated_data_interval: DataInterval | None, restriction: TimeRestriction
    ) -> DagRunInfo | None:
        """The next run within the bounds."""
        return super().next_dagrun_info(
            last_automated_data_interval=last_automated_data_interval, restriction=self._bounded(restriction)
        )

    def _bounded(self, restriction: TimeRestriction) -> TimeRestriction:
        """The requested days, both included, as far as there are data for them."""
        asked = restriction.earliest and named_day(restriction.earliest, self.zone)
        until = restriction.latest and named_day(restriction.latest, self.zone)
        first = max(asked or self.first, self.first)
        last = min(until or date.max, self.last or date.max)
        latest = None if last == date.max else self._instant(last, time.max)
        return TimeRestriction(self._instant(first, time.min), latest, restriction.catchup)

    def _instant(self, day: date, at: time) -> DateTime:
        return instance(datetime.combine(day, at, tzinfo=self.zone))

    def serialize(self) -> dict[str, Any]:
        """The timetable as JSON."""
        return {
            "cron": self.cron,
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
