"""The scratch folder of a job: checked raw rows for Spark, and Spark's output."""

from __future__ import annotations

import heapq
import io
import tempfile
import uuid
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import groupby, islice, pairwise
from operator import itemgetter
from pathlib import Path, PurePosixPath
from typing import TypeVar
from urllib.parse import unquote, urlparse

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from formats.manifest import Manifest
from include.storage.lake import READERS, Lake, Partition
from include.storage.store import open_store, passing_folder
from stores.folder import FileStore
from stores.store import Store

FOLDER = "_scratch/features"
STALE = timedelta(days=1)
"""A scratch folder this old belongs to a job that was killed; no job runs that long."""
PART = "part"
"""The column of whole numbers that tells which partition a row that Spark made belongs to."""
FILE_ROWS = 400_000
"""Raw rows to a file: few enough that they fit in memory beside their encoded form."""
GROUP_ROWS = 50_000
"""Raw rows to a row group: what a file is cut into for Spark's tasks."""
READ_ONCE = {"compression": "snappy", "parquet.enable.dictionary": "false", "parquet.block.size": 4 << 20}
"""Parquet that is written once and read once: dictionaries and hard compression cost more time than they save.

Row groups are small, as one of each file is held in memory.
"""

Item = TypeVar("Item")
Answer = TypeVar("Answer")


@dataclass(frozen=True)
class Scratch:
    """A folder for one job, in the lake or on this machine."""

    lake: Lake
    store: Store
    name: str

    @classmethod
    @contextmanager
    def opened(cls, lake: Lake, *, spark_is_local: bool) -> Iterator[Scratch]:
        """A new folder, deleted after the block; folders of killed jobs are deleted first.

        It is in the lake, which all workers of Spark reach. Where Spark runs within this process and the lake is a
        bucket, it is on this machine: then only our own client talks to the bucket, and Hadoop's is not needed.
        """
        if spark_is_local and not isinstance(lake.store, FileStore):
            with tempfile.TemporaryDirectory(prefix="nightshift-scratch-", ignore_cleanup_errors=True) as folder:
                yield cls(lake, open_store(folder), "features")
            return
        _sweep(lake)
        scratch = cls(
            lake, lake.store, f"{lake.prefix}/{FOLDER}/{datetime.now(UTC):%Y%m%dT%H%M%S}-{uuid.uuid4().hex[:12]}"
        )
        with passing_folder(lake.store, scratch.name):
            yield scratch

    def stage(self, topic: str, manifests: Mapping[Partition, Manifest], schema: pa.Schema) -> list[str]:
        """Copy the rows of a topic's partitions into a few files, and answer their addresses as Spark reads them.

        Each partition is read whole and compared with the hash in its manifest: Spark sees exactly the bytes that the
        result names as its inputs. Raises `LakeError` for a file that is damaged or gone.
        """

        def read(partition: Partition) -> pa.Table:
            return self.lake.read_as(manifests[partition], partition, schema.names).cast(schema)

        paths = []
        with ThreadPoolExecutor(READERS, thread_name_prefix="stage") as pool:
            for number, rows in enumerate(_filled(in_batches(pool, read, manifests))):
                out = io.BytesIO()
                pq.write_table(rows, out, compression="snappy", use_dictionary=False, row_group_size=GROUP_ROWS)
                name = f"{self.name}/raw/{topic}/{number:04}.parquet"
                self.store.replace(name, out.getvalue())
                paths.append(_spark_path(self.store.uri(name)))
        return paths

    @property
    def target(self) -> str:
        """The address that Spark writes to."""
        return _spark_path(self.store.uri(f"{self.name}/made"))

    def made(self) -> Iterator[tuple[int, pa.Table]]:
        """What Spark wrote, a partition at a time: its number (`PART`) and its rows, which its tasks had in this order.

        One row group of each file is in memory, however many partitions there are.
        """
        names = [name for name in self.store.names(f"{self.name}/made") if name.endswith(".parquet")]
        with tempfile.TemporaryDirectory(prefix="nightshift-made-", ignore_cleanup_errors=True) as folder:
            runs = [_runs(self._local(name, Path(folder))) for name in names]
            for part, group in groupby(heapq.merge(*runs, key=itemgetter(0)), key=itemgetter(0)):
                yield part, pa.concat_tables(rows for _, rows in group)

    def _local(self, name: str, folder: Path) -> Path:
        """A file of the scratch as one of this machine."""
        uri = self.store.uri(name)
        if uri.startswith("file://"):
            return Path(unquote(urlparse(uri).path))
        path = folder / PurePosixPath(name).name
        path.write_bytes(self.store.read(name))
        return path


def in_batches(pool: ThreadPoolExecutor, do: Callable[[Item], Answer], items: Iterable[Item]) -> Iterator[Answer]:
    """The answers in order, a few at a time: a pool's own `map` would read ahead without limit."""
    waiting = iter(items)
    while batch := list(islice(waiting, 32)):
        yield from pool.map(do, batch)


def _filled(tables: Iterable[pa.Table]) -> Iterator[pa.Table]:
    held: list[pa.Table] = []
    for table in tables:
        held.append(table)
        if sum(one.num_rows for one in held) >= FILE_ROWS:
            yield pa.concat_tables(held)
            held = []
    if held:
        yield pa.concat_tables(held)


def _runs(path: Path) -> Iterator[tuple[int, pa.Table]]:
    """A file's rows, which are sorted by partition, cut by it."""
    with pq.ParquetFile(path) as file:
        for number in range(file.num_row_groups):
            rows = file.read_row_group(number)
            parts = rows[PART].to_numpy()
            cuts: Sequence[int] = [0, *(np.flatnonzero(np.diff(parts)) + 1).tolist(), len(parts)]
            for start, end in pairwise(cuts):
                if end > start:
                    yield int(parts[start]), rows.slice(start, end - start).drop_columns([PART])


def _sweep(lake: Lake) -> None:
    """Clear what killed jobs left behind."""
    oldest = f"{datetime.now(UTC) - STALE:%Y%m%dT%H%M%S}"
    root = PurePosixPath(lake.prefix) / FOLDER
    folders = {PurePosixPath(name).relative_to(root).parts[0] for name in lake.store.names(str(root))}
    for folder in sorted(folders):
        if folder < oldest:
            lake.store.clear(str(root / folder))


def _spark_path(uri: str) -> str:
    """An address as Hadoop takes it: not percent-encoded."""
    scheme, _, rest = uri.partition("://")
    if scheme == "az":
        from include.spark import azure_host

        container, _, path = rest.partition("/")
        return f"abfss://{container}@{azure_host()}/{path}"
    return f"{scheme}://{unquote(rest) if scheme == 'file' else rest}"
