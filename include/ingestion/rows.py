"""Rows: a batch's records as PostgreSQL's COPY takes them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from include.ingestion.rules import MOMENT
from include.ingestion.streams import EVENT_TIME, Record, Stream
from include.quality.contract import Kind

RANK = "rank"
NULL = "\\N"
ESCAPED = str.maketrans({"\\": "\\\\", "\t": "\\t", "\n": "\\n", "\r": "\\r"})


@dataclass(frozen=True)
class CopyRows:
    """Lines of COPY's text format: the topic's columns, `event_time`, and `sequence`, the record's place in the batch.

    `days` are the daily partitions of the rows.
    """

    count: int
    days: frozenset[date]
    text: bytes

    @classmethod
    def of(cls, topic: Stream, parts: Sequence[pa.Table]) -> CopyRows:
        """The rows of records that were read in parts, in order."""
        if not parts:
            return NO_ROWS
        names = names_of(topic)
        records = pa.concat_tables(_texts(part, names) for part in parts).combine_chunks()
        return cls(records.num_rows, _days(topic, records[topic.day]), _lines(records))


NO_ROWS = CopyRows(0, frozenset(), b"")


def names_of(topic: Stream) -> list[str]:
    """The columns that are stored, in the order in which they are copied."""
    return [*(column.name for column in topic.columns), EVENT_TIME]


def table_of(topic: Stream, records: Sequence[Record]) -> pa.Table:
    """Records that were read one by one, as columns of texts that COPY understands."""
    columns = {name: pa.array([_copied(record[name]) for record in records], pa.string()) for name in names_of(topic)}
    return pa.table(columns)


def newest(topic: Stream, records: pa.Table) -> pa.Table:
    """The records, without those that a newer one of the same key replaces, as in the ledger's upsert.

    Keys are compared as they are written: two ways of writing one instant are left to the upsert.
    """
    keys = list(topic.natural_key)
    moments = records[EVENT_TIME].cast(MOMENT).to_numpy().view(np.int64)
    order = np.argsort(moments, kind="stable")  # of equal moments the later message comes last
    ranks = np.empty_like(order)
    ranks[order] = np.arange(len(order))
    ranked = records.select(keys).append_column(RANK, pa.array(ranks))
    last = ranked.group_by(keys, use_threads=False).aggregate([(RANK, "max")])[f"{RANK}_max"]
    return records.take(pa.array(np.sort(order[last.to_numpy()])))


def _days(topic: Stream, values: pa.ChunkedArray) -> frozenset[date]:
    """The days of a column of dates, or the UTC days of one of instants."""
    moments = values.cast(MOMENT) if topic.day_kind is Kind.INSTANT else values
    return frozenset(pc.unique(moments.cast(pa.date32())).to_pylist())


def _copied(value: Any) -> str | None:
    return None if value is None else str(value).translate(ESCAPED)


def _texts(part: pa.Table, names: Sequence[str]) -> pa.Table:
    """The part's columns as texts; those that came with a later version of the schema are null."""
    there: Mapping[str, Any] = {name: part[name] for name in part.column_names}
    missing = pa.nulls(part.num_rows, pa.string())
    return pa.table({name: there[name].cast(pa.string()) if name in there else missing for name in names})


def _lines(records: pa.Table) -> bytes:
    places = pa.array(np.arange(records.num_rows)).cast(pa.string())
    last = pc.binary_join_element_wise(places, "\n", "")
    columns = [*records.columns, last]
    lines = pc.binary_join_element_wise(*columns, "\t", null_handling="replace", null_replacement=NULL)
    return b"".join(_letters(chunk) for chunk in lines.chunks)


def _letters(lines: pa.StringArray) -> memoryview:
    """The array's texts one after another, in memory order."""
    _, offsets, letters = lines.buffers()
    bounds = np.frombuffer(offsets, np.int32)[lines.offset : lines.offset + len(lines) + 1]
    return memoryview(letters)[bounds[0] : bounds[-1]]
