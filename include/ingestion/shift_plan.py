"""A worker's shifts: stretches of work that begin at the same wall-clock times every day and have a hard end.

DAG files read it, so it imports no ML library.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from itertools import pairwise
from typing import Annotated, Any, Self
from zoneinfo import ZoneInfo

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, field_serializer, field_validator, model_validator

DAY = timedelta(days=1)
UNITS = {"min": timedelta(minutes=1), "h": timedelta(hours=1)}


def parse_clock(value: Any) -> time:
    """A time of day from `"HH:MM"`; `ValueError` for anything else (YAML reads a bare 10:20 as the number 620)."""
    if isinstance(value, time):
        return value
    if not isinstance(value, str) or not re.fullmatch(r"([01]\d|2[0-3]):[0-5]\d", value):
        raise ValueError(f"{value!r} is not a time of day; write it as HH:MM in quotes, such as '00:20'")
    return time.fromisoformat(value)


def parse_span(value: Any) -> timedelta:
    """A span of time from `15 min` or `2 h`; `ValueError` for anything else."""
    if isinstance(value, timedelta):
        return value
    found = re.fullmatch(r"([1-9]\d*) ?(min|h)", value) if isinstance(value, str) else None
    if found is None:
        raise ValueError(f"{value!r} is not a span of time; write it as '15 min' or '2 h'")
    return int(found[1]) * UNITS[found[2]]


def span_text(span: timedelta) -> str:
    """The span as `parse_span` reads it."""
    hours, rest = divmod(span, UNITS["h"])
    return f"{span // UNITS['min']} min" if rest else f"{hours} h"


Clock = Annotated[time, BeforeValidator(parse_clock)]
Span = Annotated[timedelta, BeforeValidator(parse_span)]


@dataclass(frozen=True, order=True)
class PlannedShift:
    """One stretch of work, from `start` (included) to `end` (not included), in UTC."""

    start: datetime
    end: datetime

    def __contains__(self, moment: datetime) -> bool:
        return self.start <= moment < self.end


class ShiftPlan(BaseModel):
    """One worker's shifts of every day: the first start, the last, how far apart, how long, and on whose clocks.

    Starts are wall-clock times. On the day clocks go forward, a start that they skip comes as long after midnight as
    usual (02:20 is then 03:20); on the day they go back, a start that they show twice is the first of the two. So every
    day has the same shifts. A shift lasts `duration` of real time, or until the next one begins where clocks that go
    forward bring the two closer.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    first: Clock
    last: Clock
    every: Span
    duration: Span = Field(gt=timedelta(0))
    zone: str

    @field_validator("zone")
    @classmethod
    def _known(cls, zone: str) -> str:
        try:
            ZoneInfo(zone)
        except (ValueError, OSError, LookupError):
            raise ValueError(f"{zone!r} is not a time zone; write one such as America/New_York") from None
        return zone

    @field_serializer("first", "last")
    def _clock_text(self, value: time) -> str:
        return value.isoformat("minutes")

    @field_serializer("every", "duration")
    def _span_text(self, value: timedelta) -> str:
        return span_text(value)

    @model_validator(mode="after")
    def _possible(self) -> Self:
        reach = _since_midnight(self.last) - _since_midnight(self.first)
        if reach < timedelta(0):
            raise ValueError(f"last {self.last:%H:%M} is before first {self.first:%H:%M}")
        if reach % self.every:
            raise ValueError(f"{self.last:%H:%M} is not a whole number of {span_text(self.every)} after first")
        if self.duration > self.every or reach + self.duration > DAY:
            raise ValueError(f"shifts of {span_text(self.duration)} run into each other; make them shorter or fewer")
        return self

    @property
    def clock_times(self) -> tuple[time, ...]:
        """When shifts begin, as clocks of the zone show it on an ordinary day."""
        begin, reach = _since_midnight(self.first), _since_midnight(self.last) - _since_midnight(self.first)
        midnight = datetime.combine(date.min, time())
        return tuple((midnight + begin + number * self.every).time() for number in range(reach // self.every + 1))

    def on(self, day: date) -> list[PlannedShift]:
        """The shifts that begin on a day of the zone."""
        zone = ZoneInfo(self.zone)
        noon = datetime.combine(day, time(12), tzinfo=zone)
        return [shift for shift in self._near(noon) if shift.start.astimezone(zone).date() == day]

    def at(self, moment: datetime) -> PlannedShift | None:
        """The shift that contains a moment, or None."""
        return next((shift for shift in self._near(moment) if moment in shift), None)

    def following(self, moment: datetime) -> PlannedShift:
        """The first shift that begins at a moment or later."""
        return self._first(moment, lambda shift: shift.start >= moment)

    def unfinished(self, moment: datetime) -> PlannedShift:
        """The shift that contains a moment, or the next."""
        return self._first(moment, lambda shift: shift.end > moment)

    def asked_for(self, moment: datetime) -> PlannedShift:
        """The shift of a run by hand: the current one, else an extra one from now that ends in time."""
        extra = PlannedShift(moment, min(moment + self.duration, self.following(moment).start))
        return self.at(moment) or extra

    def _first(self, moment: datetime, wanted: Callable[[PlannedShift], bool]) -> PlannedShift:
        return next(filter(wanted, self._near(moment)))

    def _near(self, moment: datetime) -> list[PlannedShift]:
        """The shifts of the days about a moment, in order; at least one begins in each 48 hours."""
        zone = ZoneInfo(self.zone)
        day = moment.astimezone(zone).date()
        starts = {
            datetime.combine(day + number * DAY, clock, tzinfo=zone).astimezone(UTC)
            for number in range(-2, 5)
            for clock in self.clock_times
        }
        return [PlannedShift(start, min(start + self.duration, later)) for start, later in pairwise(sorted(starts))]


def _since_midnight(clock: time) -> timedelta:
    return timedelta(hours=clock.hour, minutes=clock.minute)
