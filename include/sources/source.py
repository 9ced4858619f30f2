"""Where raw records come from: one small class per kind of source."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date
from typing import Protocol, runtime_checkable

import pyarrow as pa


class Source(Protocol):
    """Records of a use case's topics, a data day at a time."""

    first_day: date
    last_day: date
    """First and last data day that `read` can answer in full, topics with a day offset included."""

    def read(self, topic: str, day: date) -> pa.Table:
        """The records of a topic's partition `day`, with the source's own columns and types, unchecked.

        No record at all is an empty table, with or without columns. Raises `DataError` when the source cannot be
        decoded, `FaultError` when it cannot be reached.
        """


@dataclass(frozen=True)
class Undated:
    """The rows of a topic that name no day, so that no `read` answers with them.

    `rows` are as the source gives them, `of` is how many rows it has in all, and `where` names the source.
    """

    rows: pa.Table
    column: str
    of: int
    where: str


@runtime_checkable
class DatedRows(Protocol):
    """A source that finds a row's day in the row itself, so a row may name none."""

    def undated(self, topic: str) -> Undated | None:
        """The topic's rows that name no day; None for a topic whose days are known in another way."""


@runtime_checkable
class Configured(Protocol):
    """A source whose rows depend on a setting."""

    configured: str
    """The settings that decide rows, and their values; empty if they are the default. Another one outdates raw data."""


@runtime_checkable
class Extensible(Protocol):
    """A source that can be extended to later days."""

    later_days: str
    """The remedy for days after `last_day`, as the end of "choose a day inside or …"; may be empty."""
