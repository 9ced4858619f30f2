"""A Parquet file as a table."""

from __future__ import annotations

from typing import BinaryIO

import pyarrow as pa
import pyarrow.parquet as pq

from include.errors import DataError
from include.sources.limit import Limit

BATCH_ROWS = 10_000
"""Few, because one small page can repeat a long text thousands of times."""


def read_parquet(stream: BinaryIO, limit: Limit) -> pa.Table:
    """The rows with the file's own names and types; `DataError` for a damaged file or a table above the limit."""
    try:
        file = pq.ParquetFile(stream)
        batches: list[pa.RecordBatch] = []
        size = 0
        for batch in file.iter_batches(BATCH_ROWS):
            size += batch.nbytes
            limit.check(size)
            batches.append(batch)
        return pa.Table.from_batches(batches, schema=file.schema_arrow)
    except (pa.ArrowException, OSError) as error:
        reason = " ".join(str(error).split())[:200]
        raise DataError(f"source: {limit.where} is broken: {reason}; deliver it again") from error
