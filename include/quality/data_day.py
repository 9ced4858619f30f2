"""A data day as rows are checked against it: its date, and the instants of its start and end."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, datetime
from typing import Protocol


class Calendar(Protocol):
    """Knows when a data day begins and ends, such as a `UseCaseSpec`."""

    def day_start(self, day: date) -> datetime:
        """The instant at which the day begins."""

    def day_end(self, day: date) -> datetime:
        """The instant at which it is over, which is the next one's."""


@dataclass(frozen=True)
class DataDay:
    """A day and its instants, from `begins` on and before `ends`."""

    day: date
    begins: datetime
    ends: datetime

    @classmethod
    def of(cls, calendar: Calendar, day: date) -> DataDay:
        """The day as a use case's calendar has it."""
        return cls(day, calendar.day_start(day), calendar.day_end(day))
