"""Where raw records come from: one small class per kind of source."""

from __future__ import annotations

from datetime import date
from typing import Protocol

import pyarrow as pa


class Source(Protocol):
    """Records of a use case's topics, a data day at a time."""

    first_day: date
    last_day: date
    """First and last data day that `read` can answer in full, topics with a day offset included."""

    def read(self, topic: str, day: date) -> pa.Table:
        """The records of a topic's partition `day`, with the source's own columns and types, unchecked.

        No record at all is an empty table. Raises `DataError` when the source cannot be decoded, `FaultError` when it
        cannot be reached.
        """
