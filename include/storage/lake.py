"""The lake: Parquet partitions that exist as a whole from the moment their manifest does."""

from __future__ import annotations

import hashlib
import io
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import date, timedelta
from enum import StrEnum
from pathlib import Path, PurePosixPath
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from formats.lookup import FOLDER
from formats.manifest import MANIFEST, File, Manifest
from formats.names import none_of
from formats.partition import dataset_of, day_folder, day_of
from include.errors import DataError, LakeError, SettingsError
from include.settings import Settings
from include.storage.store import open_store
from stores.store import Store

READERS = 4
"""Threads that read many small objects in parallel; more threads than cores only slow down decoding."""


PARQUET = ".parquet"
OLD_DAY = "date="
"""How older releases began the name of a day's folder."""


class Layer(StrEnum):
    """The stages that data passes through, in order."""

    RAW = "raw"
    QUARANTINE = "quarantine"
    FEATURES = "features"
    QUALITY = "quality"
    CANDIDATES = "candidates"
    DECISIONS = "decisions"
    PREDICTIONS = "predictions"
    LOOKUPS = FOLDER


TABLES = (Layer.RAW, Layer.QUARANTINE, Layer.FEATURES, Layer.PREDICTIONS)
"""Layers whose datasets are tables for other engines."""


@dataclass(frozen=True)
class Dataset:
    """A family of daily partitions, such as `raw/sales`."""

    layer: Layer
    name: str

    def on(self, day: date) -> Partition:
        """This dataset's partition of a day."""
        return Partition(self, day)

    def __str__(self) -> str:
        return f"{self.layer}/{self.name}"


DECISIONS = Dataset(Layer.DECISIONS, "champion")
"""Each run's decision: which candidate won, and whether it is promoted."""


@dataclass(frozen=True)
class Partition:
    """One day of a dataset."""

    dataset: Dataset
    day: date

    @classmethod
    def named(cls, name: str) -> Partition:
        """The partition that a manifest calls so; `ValueError` for a name of anything else."""
        if (day := day_of(name)) is None:
            raise ValueError(f"{name!r} is no partition's name")
        layer, _, dataset = dataset_of(name).partition("/")
        return cls(Dataset(Layer(layer), dataset), day)

    def __str__(self) -> str:
        return f"{self.dataset}/{day_folder(self.day)}"


class Lake:
    """Partitions and other named objects of one use case under one root."""

    def __init__(self, store: Store, use_case: str) -> None:
        self.store = store
        self.prefix = use_case
        self.published: dict[str, pa.Schema | None] = {}
        """The files that this process has published, by name, with the schema of those that were tables."""

    @classmethod
    def open(cls, settings: Settings, use_case: str) -> Lake:
        """The lake that the settings name, seen from one use case."""
        return cls(open_store(settings.lake, s3_endpoint=settings.s3_endpoint), use_case)

    # Partitions

    def manifest(self, partition: Partition) -> Manifest | None:
        """The partition's manifest, or None while it is not published."""
        try:
            return Manifest.from_json(self.store.read(f"{self.prefix}/{partition}/{MANIFEST}"))
        except FileNotFoundError:
            return None
        except (ValueError, KeyError, TypeError) as error:
            raise LakeError(
                f"lake: manifest of {partition} is damaged: {error}; publish it again with --force"
            ) from None

    def require(self, partition: Partition) -> Manifest:
        """The partition's manifest, or a `DataError` that says which step makes it.

        If nothing at all is published, the lake may be away, like a mount: a `LakeError`.
        """
        manifest = self.manifest(partition)
        if manifest is None:
            if self.bare():
                where = self.store.uri(self.prefix)
                raise LakeError(
                    f"lake: {partition} is not published, and nothing else is at {where}; "
                    f"mount it or correct NIGHTSHIFT_LAKE, or run the step that makes {partition.dataset} first"
                )
            raise DataError(self._unpublished(partition))
        return manifest

    def bare(self) -> bool:
        """Whether no partition is published."""
        names = (name for layer in Layer for name in self.store.names(f"{self.prefix}/{layer}"))
        return not any(PurePosixPath(name).name == MANIFEST for name in names)

    def _unpublished(self, partition: Partition) -> str:
        """The message for a missing partition; if the dataset never existed, its name may be misspelt."""
        dataset, layer = partition.dataset, partition.dataset.layer
        start = len(f"{self.prefix}/{layer}/")
        names = {name[start:].partition("/")[0] for name in self.store.names(f"{self.prefix}/{layer}")}
        self.days(dataset)  # which refuses the lake of an older release
        if names and dataset.name not in names:
            return f"lake: {partition} is not published: {dataset.name!r} {none_of(dataset.name, sorted(names))}"
        return f"lake: {partition} is not published; run the step that makes {dataset} first"

    def manifests(self, dataset: Dataset, days: Iterable[date]) -> dict[date, Manifest]:
        """The manifests of those of the days that are published, in order of days; read side by side."""
        asked = sorted(days)
        with ThreadPoolExecutor(READERS) as pool:
            found = zip(asked, pool.map(self.manifest, map(dataset.on, asked)), strict=True)
            return {day: manifest for day, manifest in found if manifest}

    def days(self, dataset: Dataset) -> list[date]:
        """The days of which the dataset has a published partition, in order.

        Raises `SettingsError` for a lake of an older release.
        """
        folders = [name.removesuffix(f"/{MANIFEST}") for name in self._manifests(dataset)]
        if old := next((folder for folder in folders if PurePosixPath(folder).name.startswith(OLD_DAY)), None):
            raise SettingsError(
                f"lake: {self.store.uri(old)} is of an older release, which named a day {OLD_DAY}…; "
                "move this lake away or name another NIGHTSHIFT_LAKE, and the next run fills it again"
            )
        return sorted(day for folder in folders if (day := day_of(folder)))

    def _manifests(self, dataset: Dataset) -> Iterator[str]:
        names = self.store.names(f"{self.prefix}/{dataset}")
        return (name for name in names if name.endswith(f"/{MANIFEST}"))

    def missing(self, dataset: Dataset, first: date, last: date) -> list[date]:
        """The days from first to last, both included, that are not published."""
        there = set(self.days(dataset))
        return [day for day in days_between(first, last) if day not in there]

    def publish(
        self,
        partition: Partition,
        files: Mapping[str, pa.Table | bytes | Path],
        *,
        inputs: Mapping[str, str] | None = None,
        force: bool = False,
    ) -> Manifest:
        """Publish a partition by one atomic act, after its files are complete.

        A table becomes Parquet; bytes and paths are stored as they are. Stored names carry the content's hash, so two
        publishers never write over each other. Without `force` the first publisher wins and every caller gets
        the winner's manifest; with it the partition is replaced.
        """
        if not force and (existing := self.manifest(partition)):
            return existing
        stored = [self._put(partition, name, content, force=force) for name, content in sorted(files.items())]
        manifest = Manifest(f"{self.prefix}/{partition}", tuple(stored), dict(inputs or {}))
        name = f"{self.prefix}/{partition}/{MANIFEST}"
        if force:
            self.store.replace(name, manifest.to_json())
        elif not self.store.create(name, manifest.to_json()):
            return self.require(partition)
        for file, (_, content) in zip(stored, sorted(files.items()), strict=True):
            self.published[f"{partition}/{file.name}"] = content.schema if isinstance(content, pa.Table) else None
        return manifest

    @property
    def written(self) -> set[str]:
        """The datasets that this process has published to, such as `raw/sales`."""
        return {path.partition("=")[0].rpartition("/")[0] for path in self.published}

    def _put(self, partition: Partition, name: str, content: pa.Table | bytes | Path, *, force: bool) -> File:
        rows = 0
        if isinstance(content, pa.Table):
            rows, content = content.num_rows, parquet_bytes(content)
        elif name.endswith(PARQUET):
            rows = pq.read_metadata(io.BytesIO(content) if isinstance(content, bytes) else content).num_rows
        digest, size = _digest(content)
        path = PurePosixPath(name)
        stored = f"{path.stem}-{digest[:16]}{path.suffix}"
        target = f"{self.prefix}/{partition}/{stored}"
        if force or not self.store.exists(target):
            self.store.replace(target, content)
        return File(stored, size, rows, digest)

    def read_file(self, partition: Partition, name: str) -> bytes:
        """One file of a partition by the name it was published under, checked against its hash."""
        path = PurePosixPath(name)
        for file in self.require(partition).files:
            if file.name.startswith(f"{path.stem}-") and file.name.endswith(path.suffix):
                return self._checked(partition, file)
        raise DataError(f"lake: {partition} has no file {name}")

    def read(self, partition: Partition, columns: Sequence[str] | None = None) -> pa.Table:
        """All rows of a partition's Parquet files, in published order; `DataError` when a column is not there."""
        return self.read_as(self.require(partition), partition, columns)

    def read_as(self, manifest: Manifest, partition: Partition, columns: Sequence[str] | None = None) -> pa.Table:
        """The same rows as a given manifest names them, even if others were published since."""
        files = [file for file in manifest.files if file.name.endswith(PARQUET)]
        return pa.concat_tables(self._table(partition, file, columns) for file in files)

    def read_days(
        self,
        dataset: Dataset,
        days: Iterable[date],
        columns: Sequence[str] | None = None,
        *,
        manifests: Mapping[Partition, Manifest] | None = None,
    ) -> pa.Table:
        """All rows of several days, in order of days; a day that is not published is an error.

        With `manifests` they are the rows that those name, whatever was published since.
        """

        def read(day: date) -> pa.Table:
            partition = dataset.on(day)
            return self.read_as(manifests[partition] if manifests else self.require(partition), partition, columns)

        with ThreadPoolExecutor(READERS) as pool:
            tables = list(pool.map(read, days))
        try:
            return pa.concat_tables(tables, promote_options="default")
        except (pa.ArrowInvalid, pa.ArrowTypeError) as error:
            reason = " ".join(str(error).split())
            raise DataError(
                f"lake: the days of {dataset} do not fit together: {reason}; publish the older ones again with --force"
            ) from None

    def uris(self, dataset: Dataset, days: Iterable[date]) -> list[str]:
        """The addresses of the Parquet files of several days, as their manifests name them (for Spark, DuckDB, …)."""
        return [
            self.store.uri(f"{self.prefix}/{dataset.on(day)}/{file.name}")
            for day in days
            for file in self.require(dataset.on(day)).files
            if file.name.endswith(PARQUET)
        ]

    def uri(self, partition: Partition) -> str:
        """The partition's address."""
        return self.store.uri(f"{self.prefix}/{partition}")

    def _table(self, partition: Partition, file: File, columns: Sequence[str] | None) -> pa.Table:
        # pq.read_table would first make a dataset of a small file, which takes longer than reading it.
        content = pq.ParquetFile(pa.BufferReader(self._checked(partition, file)))
        if columns is None:
            return content.read(use_threads=False)
        there = set(content.schema_arrow.names)
        if lacking := [name for name in columns if name not in there]:
            raise DataError(
                f"lake: {partition}: column {lacking[0]!r} {none_of(lacking[0], sorted(there))}; "
                "a column that is new comes with --force"
            )
        return content.read(list(columns), use_threads=False).select(list(columns))

    def _checked(self, partition: Partition, file: File) -> bytes:
        try:
            content = self.store.read(f"{self.prefix}/{partition}/{file.name}")
        except FileNotFoundError:
            raise LakeError(f"lake: {partition}/{file.name} is gone; publish it again with --force") from None
        if hashlib.sha256(content).hexdigest() != file.sha256:
            raise LakeError(f"lake: {partition}/{file.name} is damaged (hash differs); publish it again with --force")
        return content

    # Other objects: models, step reports, data docs

    def put(self, name: str, content: bytes | Path) -> str:
        """Store an object under a name of its own and return its address."""
        self.store.replace(f"{self.prefix}/{name}", content)
        return self.store.uri(f"{self.prefix}/{name}")

    def get(self, name: str) -> bytes:
        """The object of that name; `FileNotFoundError` if there is none."""
        return self.store.read(f"{self.prefix}/{name}")


def days_between(first: date, last: date) -> list[date]:
    """The days from first to last, both included."""
    return [first + timedelta(days=offset) for offset in range((last - first).days + 1)]


def parquet_bytes(table: pa.Table) -> bytes:
    """A table as Parquet; equal tables are equal bytes (same library version).

    Snappy: training reads hundreds of these small files, and took twice as long where they were 12 % smaller with zstd.
    """
    out = io.BytesIO()
    pq.write_table(table, out, compression="snappy", store_schema=True)
    return out.getvalue()


def to_json(value: Any) -> bytes:
    """A value as canonical, readable JSON."""
    return (json.dumps(value, indent=1, sort_keys=True, default=str) + "\n").encode()


def _digest(content: bytes | Path) -> tuple[str, int]:
    if isinstance(content, bytes):
        return hashlib.sha256(content).hexdigest(), len(content)
    with content.open("rb") as source:
        return hashlib.file_digest(source, "sha256").hexdigest(), content.stat().st_size
