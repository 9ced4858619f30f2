"""When a worker works: one run a shift, its data interval the shift, its deadline the shift's end."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any
from zoneinfo import ZoneInfo

import pendulum
from airflow.timetables.base import DagRunInfo, DataInterval, TimeRestriction, Timetable

from include.ingestion.shift_plan import PlannedShift, ShiftPlan, span_text

MOST_NAMED = 24  # Airflow keeps 1,000 characters of a description


class WorkerTimetable(Timetable):  # type: ignore[misc]
    """A run starts with its shift, so its data interval is ahead of it: from the shift's start to its end.

    Without catch-up, missed shifts are not made up: the next shift takes their records. A run triggered by
    hand is the current shift, or an extra one of the same length that ends before the next begins.
    """

    def __init__(self, shifts: ShiftPlan) -> None:
        self.shifts = shifts
        clocks = [f"{clock:%H:%M}" for clock in shifts.clock_times]
        if len(clocks) > MOST_NAMED:
            clocks[2:-1] = ["…"]
        self.description = (
            f"Shifts of {span_text(shifts.duration)} at {', '.join(clocks)} ({shifts.zone}); a run ends with its shift"
        )

    @property
    def summary(self) -> str:
        """The shifts as the list of DAGs shows them."""
        times = self.shifts
        when = f"{times.first:%H:%M}–{times.last:%H:%M} every {span_text(times.every)}"  # noqa: RUF001 (a range)
        return f"{when} for {span_text(times.duration)}, {times.zone}"

    def serialize(self) -> dict[str, Any]:
        """The shifts, as JSON."""
        return self.shifts.model_dump(mode="json")

    @classmethod
    def deserialize(cls, data: dict[str, Any]) -> WorkerTimetable:
        """A timetable from `serialize`'s value."""
        return cls(ShiftPlan.model_validate(data))

    def infer_manual_data_interval(self, *, run_after: datetime) -> DataInterval:
        """The current shift, or an extra one from now until the next begins, no longer than any other."""
        return interval(self.shifts.asked_for(run_after))

    def next_dagrun_info(
        self, *, last_automated_data_interval: DataInterval | None, restriction: TimeRestriction
    ) -> DagRunInfo | None:
        """The first shift that begins when the last run's is over, within the restriction."""
        bounds = [restriction.earliest, last_automated_data_interval and last_automated_data_interval.end]
        known = [bound for bound in bounds if bound is not None]
        shifts = [self.shifts.following(max(known))] if known else []
        if not restriction.catchup:
            shifts.append(self.shifts.unfinished(datetime.now(UTC)))
        if not shifts:
            return None
        shift = max(shifts)
        if restriction.latest is not None and shift.start > restriction.latest:
            return None
        return DagRunInfo(run_after=pendulum.instance(shift.start), data_interval=interval(shift))


def interval(shift: PlannedShift) -> DataInterval:
    """A shift as Airflow's data interval."""
    return DataInterval(pendulum.instance(shift.start), pendulum.instance(shift.end))


def shift_end(shifts: ShiftPlan, interval_end: datetime | None, run_after: datetime) -> datetime:
    """A run's deadline on the zone's clocks; a run without a data interval is one asked for when it may start."""
    return (interval_end or shifts.asked_for(run_after).end).astimezone(ZoneInfo(shifts.zone))
