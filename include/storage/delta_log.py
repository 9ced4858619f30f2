"""The Delta log of a dataset: its Parquet files as a table that other engines read, none of them copied.

The manifests stay the truth, and a log follows them. What it lacks or has too much is put right in one
commit, so a retry, or the next publication, also makes up for a step that was killed before its own.
"""

from __future__ import annotations

import io
import json
import random
import re
import time
from collections import Counter
from collections.abc import Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import timedelta
from itertools import count
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.parquet as pq

from formats.manifest import MANIFEST, File
from formats.partition import DATA_DAY
from include.errors import DataError, LakeError
from include.storage.lake import PARQUET, READERS, TABLES, Lake, Partition
from include.storage.superseded import delete_superseded

if TYPE_CHECKING:
    from deltalake import DeltaTable

WRITER = "nightshift"
"""Commits of one writer conflict wherever they race, so each of them is made from the newest manifests."""
COLOUR = re.compile(r"\x1b\[\d+m")
"""What delta-rs paints the arrows of its messages with."""
TRIES = 20
PAUSE_SECONDS = 0.05
PATIENCE_SECONDS = 180.0
"""How long all attempts together may take if each of them hangs."""


def follow(lake: Lake, written: Iterable[str] = (), *, grace: timedelta, s3_endpoint: str | None = None) -> None:
    """Bring the logs of the tables among some datasets, and of all that this process has published to, in line."""
    for name in sorted(name for name in {*written, *lake.written} if name.partition("/")[0] in TABLES):
        DeltaLog(lake, name, s3_endpoint=s3_endpoint).follow(grace)


@dataclass(frozen=True)
class _Change:
    """What a log lacks and has too much; `superseded` are files that no manifest names any more."""

    added: Mapping[str, File]
    removed: frozenset[str]
    superseded: frozenset[str]
    stays: bool


@dataclass(frozen=True)
class DeltaLog:
    """The log of a table such as `raw/sales`; all moments of a horizon within the day are one table.

    A table has the columns of its files, and those that its folders are named by: `data_day`, a date, and for moments
    `moment`, a text.
    """

    lake: Lake
    name: str
    s3_endpoint: str | None = field(default=None, kw_only=True)

    def open(self) -> DeltaTable | None:
        """The table as its newest commit has it; None before the first."""
        from deltalake import DeltaTable
        from deltalake.exceptions import TableNotFoundError

        try:
            return DeltaTable(self._uri, storage_options=self._options())
        except TableNotFoundError:
            return None

    def follow(self, grace: timedelta) -> None:
        """Commit what the manifests say and the log does not; then delete files superseded longer ago than the grace.

        Raises `DataError` for a column whose type differs from the table's, `LakeError` when the log cannot be written.
        """
        from deltalake.exceptions import DeltaError

        began = time.monotonic()
        for tries in count(1):
            try:
                table = self.open()
                change = self._change(table)
                if change.added or change.removed:
                    self._commit(table, change)
                return delete_superseded(self.lake, (f"{self._root}/{path}" for path in change.superseded), grace)
            except (DeltaError, OSError) as error:
                # Overtaken by another run, or broken off: delta-rs reads no body twice.
                if tries >= TRIES or time.monotonic() - began > PATIENCE_SECONDS:
                    reason = " ".join(COLOUR.sub("", str(error)).split())
                    raise LakeError(f"lake: {self.name}: cannot write {self._uri}/_delta_log: {reason}") from error
            time.sleep(random.uniform(0, PAUSE_SECONDS * tries))  # noqa: S311 (no secret)
        raise AssertionError("unreachable")

    @property
    def _root(self) -> str:
        return f"{self.lake.prefix}/{self.name}"

    @property
    def _uri(self) -> str:
        return self.lake.store.uri(self._root)

    def _options(self) -> dict[str, str]:
        """The endpoint, and the credentials that boto3 finds, which knows more places than delta-rs."""
        if not self._uri.startswith("s3://"):
            return {}
        import boto3

        session = boto3.Session()
        known = session.get_credentials()
        frozen = known.get_frozen_credentials() if known else None
        options = {
            "AWS_ACCESS_KEY_ID": frozen and frozen.access_key,
            "AWS_SECRET_ACCESS_KEY": frozen and frozen.secret_key,
            "AWS_SESSION_TOKEN": frozen and frozen.token,
            "AWS_REGION": session.region_name,
            "AWS_ENDPOINT_URL": self.s3_endpoint,
            "AWS_ALLOW_HTTP": str((self.s3_endpoint or "").startswith("http://")).lower(),
        }
        return {name: value for name, value in options.items() if value}

    def _change(self, table: DeltaTable | None) -> _Change:
        """How the manifests differ from the log; only those are read whose folder holds other files than the log."""
        logged = _by_folder(table.get_add_actions(flatten=True)["path"].to_pylist() if table else ())
        listed = self._listed()
        doubtful = [folder for folder in logged.keys() | listed.keys() if logged.get(folder) != listed.get(folder)]
        with ThreadPoolExecutor(READERS) as pool:
            true = {path: file for files in pool.map(self._files, doubtful) for path, file in files.items()}
        known = {path for folder in doubtful for path in logged.get(folder, ())}
        there = {path for folder in doubtful for path in listed.get(folder, ())}
        return _Change(
            added={path: true[path] for path in sorted(true.keys() - known)},
            removed=frozenset(known - true.keys()),
            superseded=frozenset(there - true.keys()),
            stays=sum(map(len, logged.values())) > len(known - true.keys()),
        )

    def _listed(self) -> dict[str, set[str]]:
        """The Parquet files in each folder that has a manifest."""
        names = [name.removeprefix(f"{self._root}/") for name in self.lake.store.names(self._root)]
        published = {name.removesuffix(f"/{MANIFEST}") for name in names if name.endswith(f"/{MANIFEST}")}
        files = _by_folder(name for name in names if name.endswith(PARQUET))
        return {folder: files.get(folder, set()) for folder in published}

    def _files(self, folder: str) -> dict[str, File]:
        """The Parquet files that a folder's manifest names; none while it is not published."""
        manifest = self.lake.manifest(Partition.named(f"{self.name}/{folder}"))
        files = manifest.files if manifest else ()
        return {f"{folder}/{file.name}": file for file in files if file.name.endswith(PARQUET)}

    def _commit(self, table: DeltaTable | None, change: _Change) -> None:
        from deltalake import DeltaTable, Schema
        from deltalake.transaction import AddAction, CommitProperties, RemoveAction, Transaction

        now = int(time.time() * 1000)
        added = [
            AddAction(path, file.size, _values(path), now, True, json.dumps({"numRecords": file.rows}))
            for path, file in change.added.items()
        ]
        columns = list(_values(next(iter([*change.added, *change.removed]))))
        before = pa.schema(table.schema()) if table and change.stays else pa.schema([])
        schema = Schema.from_arrow(self._schema(before, change.added, columns))
        if table is None:
            table = DeltaTable.create(
                self._uri, schema, mode="ignore", partition_by=columns, storage_options=self._options()
            )
        elif change.stays and (new := [one for one in schema.fields if one.name not in before.names]):
            table.alter.add_columns(new)
        table.create_write_transaction(
            [*added, *(RemoveAction(path, True, now, None, _values(path)) for path in change.removed if change.stays)],
            # Where no file stays, the new ones may have any schema.
            mode="append" if change.stays else "overwrite",
            schema=schema,
            partition_by=columns,
            commit_properties=CommitProperties(app_transactions=[Transaction(WRITER, table.version() + 1)]),
        )

    def _schema(self, before: pa.Schema, added: Iterable[str], partitioned_by: list[str]) -> pa.Schema:
        """The table's columns and those of the added files; every column may be null, as a file may lack it."""
        with ThreadPoolExecutor(READERS) as pool:
            schemas = list(dict.fromkeys(pool.map(self._schema_of, added)))
        folders = [pa.field(name, pa.date32() if name == DATA_DAY else pa.string()) for name in partitioned_by]
        known = pa.schema([one for one in before if one.name not in partitioned_by])
        try:
            found = [*pa.unify_schemas([known, *schemas]), *folders]
        except (pa.ArrowInvalid, pa.ArrowTypeError) as error:
            reason = " ".join(str(error).split())
            raise DataError(
                f"lake: {self.name}: {reason}; publish its other days again with --force, or give the column a new name"
            ) from None
        names = Counter(one.name.lower() for one in found)
        if twice := next((one.name for one in found if names[one.name.lower()] > 1), None):
            raise DataError(
                f"lake: {self.name}: column {twice} comes twice, in another case or as the name of its folders; "
                "give it another name"
            )
        return pa.schema([one.with_nullable(True) for one in found])

    def _schema_of(self, path: str) -> pa.Schema:
        schema = self.lake.published.get(f"{self.name}/{path}")
        if schema is None:  # another process has published it
            schema = pq.read_schema(io.BytesIO(self.lake.store.read(f"{self._root}/{path}")))
        return pa.schema([one.with_nullable(True).remove_metadata() for one in schema])


def _by_folder(paths: Iterable[str]) -> dict[str, set[str]]:
    found: dict[str, set[str]] = {}
    for path in paths:
        found.setdefault(path.rpartition("/")[0], set()).add(path)
    return found


def _values(path: str) -> dict[str, Any]:
    """The values of the columns that a file's folders are named by."""
    return dict(folder.split("=", 1) for folder in path.split("/")[:-1])
