"""A source whose tables hold plan and outcome in one row, as a source of the topics that the lake makes of them."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date

import pyarrow as pa

from include.sources.source import DatedRows, Extensible, Source, Undated


class SplitSource:
    """Answers a topic from the table that it is a part of."""

    def __init__(self, source: Source, tables: Mapping[str, str]) -> None:
        """`tables` names the table of each topic that is a part of one."""
        self.source = source
        self.tables = tables
        self.first_day, self.last_day = source.first_day, source.last_day
        self.later_days = source.later_days if isinstance(source, Extensible) else ""

    def read(self, topic: str, day: date) -> pa.Table:
        """The table's records of that day, all its columns; the topic's contract takes its own."""
        return self.source.read(self.tables.get(topic, topic), day)

    def undated(self, topic: str) -> Undated | None:
        """The table's rows that name no day, once: with the plan."""
        if topic in self.tables or not isinstance(self.source, DatedRows):
            return None
        return self.source.undated(topic)
