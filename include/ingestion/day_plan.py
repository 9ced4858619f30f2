"""The plan of a day: every window of work in a timetable, and where two of them overlap."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from enum import StrEnum
from itertools import combinations

from include.errors import SettingsError
from include.ingestion.timetable import Timetable
from include.use_case import UseCaseSpec


class Activity(StrEnum):
    """What is done in a window."""

    SHIFT = "shift"
    SCORING = "scoring"
    TRAINING = "training"


@dataclass(frozen=True, order=True)
class Window:
    """A stretch of one work, from `start` (included) to `end` (not included), in UTC."""

    start: datetime
    end: datetime
    name: str
    work: Activity


@dataclass(frozen=True)
class Overlap:
    """Two windows that share a stretch of time; `first` begins no later than `second`."""

    first: Window
    second: Window

    @property
    def start(self) -> datetime:
        """When both have begun."""
        return self.second.start

    @property
    def end(self) -> datetime:
        """When the first of the two is over."""
        return min(self.first.end, self.second.end)


def day_plan(spec: UseCaseSpec, timetable: Timetable, day: date) -> list[Window]:
    """All windows that begin on a day of the use case's zone (scoring: that follow a shift of it), in order."""
    training = nightly_start(spec, day)
    windows = [Window(training, training + timetable.nightly_training.at_most, "nightly_training", Activity.TRAINING)]
    for worker in timetable.workers:
        windows += [Window(shift.start, shift.end, worker.name, Activity.SHIFT) for shift in worker.shifts.on(day)]
    if scoring := timetable.scoring:
        ends = [shift.end for shift in timetable.worker(scoring.follows).shifts.on(day)]
        windows += [Window(end, end + scoring.at_most, scoring.name, Activity.SCORING) for end in ends]
    return sorted(windows)


def nightly_start(spec: UseCaseSpec, day: date) -> datetime:
    """When the nightly run of a calendar day starts; where clocks show that time twice Airflow takes the second."""
    found = re.fullmatch(r"(\d+) (\d+) \* \* \*", spec.cron)
    if found is None:
        raise SettingsError(f"{spec.name}: cron {spec.cron!r} is not of the kind 'MINUTE HOUR * * *'; write it so")
    clock = time(int(found[2]), int(found[1]), fold=1)
    return datetime.combine(day, clock, tzinfo=spec.zone).astimezone(UTC)


def overlaps(windows: Iterable[Window]) -> list[Overlap]:
    """Every two windows that share time, in order. They do not where one ends as another begins."""
    pairs = [Overlap(first, second) for first, second in combinations(sorted(windows), 2)]
    return [pair for pair in pairs if pair.end - pair.start > timedelta(0)]
