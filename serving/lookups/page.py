"""A page of a group: some of a data day's predictions, in order."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from typing import Any

from serving.errors import NotFoundError
from serving.lookups.snapshot import value

MOST = 500


@dataclass(frozen=True)
class Page:
    """The predictions of one page (`shown`), of all of the day's; `next_offset` is None after the last."""

    day: date
    predictions: Sequence[Any]
    shown: Sequence[Any]
    next_offset: int | None

    @classmethod
    def of(
        cls, days: Mapping[date, Sequence[Any]] | None, day: date | None, *, limit: int, offset: int, name: str
    ) -> Page:
        """A page of a group's day (none: the newest), or a `NotFoundError` about the group of that name."""
        if not days:
            raise NotFoundError(f"{name}: no predictions are published")
        day = day or max(days)
        found = days.get(day)
        if not found:
            raise NotFoundError(f"{name}: nothing is published of {day}; there are {min(days)} to {max(days)}")
        shown = found[offset : offset + limit]
        if not shown:
            raise NotFoundError(f"{name}: offset {offset} is past the {len(found)} predictions of {day}")
        return cls(day, found, shown, offset + limit if offset + limit < len(found) else None)

    @property
    def as_of(self) -> Any:
        """When the newest of those shown was made."""
        return max(value(one, "as_of") for one in self.shown)

    @property
    def model_versions(self) -> list[str]:
        """The versions that made those shown."""
        return sorted({value(one, "model_version") for one in self.shown})
