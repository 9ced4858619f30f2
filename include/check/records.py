"""The raw records of a few days, topic by topic, and when each value of them became known."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date, datetime, timedelta

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from include.quality.contract import Contract, Kind
from include.use_case import Topic, UseCaseSpec

Micros = npt.NDArray[np.int64]
Mask = npt.NDArray[np.bool_]

NEVER = np.iinfo(np.int64).max
"""The instant for what has not happened yet: later than any other."""


@dataclass(frozen=True)
class TopicRecords:
    """A topic's records of several partitions: `table` has the contract's columns, `days` each row's partition."""

    topic: Topic
    contract: Contract
    table: pa.Table
    days: npt.NDArray[np.datetime64]

    @classmethod
    def of(cls, topic: Topic, contract: Contract, partitions: Mapping[date, pa.Table]) -> TopicRecords:
        """The records of these partitions, in the contract's columns and types."""
        tables = [table.select(contract.names).cast(contract.schema) for table in partitions.values()]
        days = np.repeat(np.array(list(partitions), dtype="datetime64[D]"), [table.num_rows for table in tables])
        return cls(topic, contract, pa.concat_tables([contract.schema.empty_table(), *tables]), days)

    def of_days(self, days: set[date]) -> TopicRecords:
        """The records of these partitions only."""
        return self.where(np.isin(self.days, np.array(sorted(days), dtype="datetime64[D]")))

    def where(self, mask: Mask) -> TopicRecords:
        """The records under a mask."""
        return TopicRecords(self.topic, self.contract, self.table.filter(pa.array(mask)), self.days[mask])

    def row_known(self, spec: UseCaseSpec) -> Micros:
        """For each record the microsecond since 1970 from which it is known."""
        if self.topic.known_at:
            known = self._micros(self.topic.known_at)
        else:
            known = _ends(self.days - np.timedelta64(self.topic.day_offset, "D"), spec)
        for instant in set(self.topic.late.values()):
            known = np.minimum(known, self._micros(instant))
        return known

    def cell_known(self, column: str, spec: UseCaseSpec) -> Micros:
        """For each record the microsecond since 1970 from which its value of a column is known."""
        late = self.topic.late.get(column)
        return self._micros(late) if late else self.row_known(spec)

    def fixed(self) -> set[str]:
        """The columns that say which record it is, of which day, and when it was known: never changed."""
        dated = {
            column.name
            for column in self.contract.columns
            if column.kind is Kind.DATE and np.array_equal(_days(self.table[column.name]), self.days)
        }
        return {*self.contract.key, *dated, *filter(None, [self.topic.known_at])}

    def _micros(self, column: str) -> Micros:
        instants = self.table[column].cast(pa.timestamp("us", "UTC")).cast(pa.int64())
        known: Micros = instants.fill_null(NEVER).to_numpy()
        return known


World = Mapping[str, TopicRecords]
"""The records of every topic."""


def micros(moment: datetime) -> int:
    """An instant as microseconds since 1970."""
    return (moment - datetime.fromisoformat("1970-01-01T00:00+00:00")) // timedelta(microseconds=1)


def _ends(days: npt.NDArray[np.datetime64], spec: UseCaseSpec) -> Micros:
    """When each data day is over."""
    each, places = np.unique(days, return_inverse=True)
    ends = np.array([micros(spec.day_end(day)) for day in each.astype(object)], dtype=np.int64)
    return ends[places] if len(each) else np.empty(0, np.int64)


def _days(column: pa.ChunkedArray) -> npt.NDArray[np.datetime64]:
    days: npt.NDArray[np.datetime64] = column.to_numpy().astype("datetime64[D]")
    return days
