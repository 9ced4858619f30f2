"""Sources of a user's own data: CSV or Parquet files in a folder, a bucket or behind a URL."""

from __future__ import annotations

import io
import logging
import string
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import date
from threading import BoundedSemaphore, Lock

import pyarrow as pa
import pyarrow.compute as pc

from include.errors import DataError, FaultError, SettingsError
from include.quality.data_day import Calendar
from include.sources.csv_file import read_csv
from include.sources.limit import MIB, Limit
from include.sources.packing import GZIP, unpacked
from include.sources.parquet_file import read_parquet
from include.sources.place import open_place
from include.sources.row_days import row_days
from include.sources.source import Undated
from include.spec_rules import require_types

MAX_BYTES = 256 * MIB
READERS = 2
"""Files that are read in parallel: each may take its `max_bytes` a few times over."""
CSV, PARQUET = (".csv", ".csv.gz"), (".parquet",)
PLACEHOLDERS = {"topic", "date"}

log = logging.getLogger("nightshift")


@dataclass(frozen=True)
class Files:
    """The place of a topic's records: a path below the source's root, ending in `.csv`, `.csv.gz` or `.parquet`.

    A path is written as the files are named, and quoted where it becomes part of a URL (`{{` is a brace). It may be a
    folder of such files, as Spark writes one. With `{date}` in the path there is one file a day; without it one file
    holds all days, and `date_column` names the column that says which: dates as a contract accepts them, or, with a
    `calendar` (the use case's SPEC), instants.

    A cell of a CSV file that is one of `null_words` is no value. A quoted cell is always text, unless `quoted_nulls`
    says that the program which wrote the file quotes every cell. `max_bytes` limits a file, packed and unpacked.
    """

    path: str
    date_column: str | None = None
    calendar: Calendar | None = None
    null_words: tuple[str, ...] = ("",)
    quoted_nulls: bool = False
    max_bytes: int = MAX_BYTES

    def __post_init__(self) -> None:
        require_types(self, "sources.py: Files: ")
        for field, problem in self._problems():
            raise SettingsError(f"sources.py: Files: {field}={getattr(self, field)!r}: {problem}")

    def _problems(self) -> Iterator[tuple[str, str]]:
        try:
            named = {f"{name}:{form}" if form else name for _, name, form, _ in string.Formatter().parse(self.path)}
        except ValueError as error:
            yield "path", f"{error}; write {{{{ for a brace"
            return
        if not self.path.lower().endswith(CSV + PARQUET):
            yield "path", f"names no file that is read; end it in {', '.join(CSV + PARQUET)}"
        if unknown := {name for name in named if name is not None} - PLACEHOLDERS:
            yield "path", f"nothing stands for {{{min(unknown)}}}; write {{date}} or {{topic}}"
        if ("date" in named) == (self.date_column is not None):
            yield "date_column", f"for the path {self.path!r}; give either {{date}} in the path or a date_column"
        if self.calendar and self.date_column is None:
            yield "calendar", "reads a date_column; name it"
        if self.max_bytes < 1:
            yield "max_bytes", "is no room; give at least 1"


@dataclass(frozen=True)
class _Whole:
    """A file of all days; `days` has each row's day, null where it names none."""

    table: pa.Table
    days: pa.Array


class TabularSource:
    """CSV or Parquet files of each topic under `root`: a folder, `file://`, `s3://`, `http://` or `https://`.

    CSV values stay text: the contract says what they are. A file that is not UTF-8, broken, too large or missing raises
    `DataError` with its name; a place out of reach raises `FaultError` after three attempts, an invalid address
    `SettingsError`.
    """

    def __init__(
        self,
        root: str,
        topics: Mapping[str, Files],
        *,
        first_day: date,
        last_day: date = date.max,
        s3_endpoint: str | None = None,
    ) -> None:
        self.first_day = first_day
        self.last_day = last_day
        self.later_days = "correct last_day of the source"
        self._root = root.partition("?")[0] if "://" in root else root
        self._place = open_place(root, s3_endpoint=s3_endpoint)
        self._topics = topics
        self._lock = Lock()
        self._readers = BoundedSemaphore(READERS)
        self._whole: dict[str, _Whole] = {}

    def read(self, topic: str, day: date) -> pa.Table:
        """The topic's records of the day, columns and types as the file has them."""
        files = self._topics[topic]
        if files.date_column is None:
            return self._table(files, _path(files, topic, day))
        whole = self._all_days(topic, files)
        return whole.table.filter(pc.equal(whole.days, pa.scalar(day, pa.date32())))

    def undated(self, topic: str) -> Undated | None:
        """The topic's rows whose `date_column` names no day; None where each day has a file."""
        files = self._topics[topic]
        if files.date_column is None:
            return None
        whole = self._all_days(topic, files)
        rows = whole.table.filter(pc.is_null(whole.days))
        return Undated(rows, files.date_column, whole.table.num_rows, self._where(_path(files, topic)))

    def _all_days(self, topic: str, files: Files) -> _Whole:
        with self._lock:
            if topic not in self._whole:
                path = _path(files, topic)
                table = self._table(files, path)
                self._whole[topic] = _Whole(
                    table, row_days(table, files.date_column or "", files.calendar, self._where(path))
                )
                self._tell(self._whole[topic], self._where(path))
            return self._whole[topic]

    def _tell(self, whole: _Whole, where: str) -> None:
        """Log what the file holds, and how much of it no run asks for."""
        bounds = pc.min_max(whole.days).as_py()
        early = pc.sum(pc.less(whole.days, pa.scalar(self.first_day, pa.date32()))).as_py()
        late = pc.sum(pc.greater(whole.days, pa.scalar(self.last_day, pa.date32()))).as_py()
        beyond = [f"{early} before first_day {self.first_day}"] if early else []
        beyond += [f"{late} after last_day {self.last_day}"] if late else []
        span = f" of {bounds['min']} … {bounds['max']}" if bounds["min"] else ""
        log.info("source: %s has %d rows%s%s", where, whole.table.num_rows, span, "".join(f", {one}" for one in beyond))

    def _table(self, files: Files, path: str) -> pa.Table:
        limit = Limit(self._where(path), files.max_bytes)
        with self._readers:
            try:
                return _parse(self._place.read(path, limit), files, limit)
            except FileNotFoundError:
                return self._folder(files, path, limit)

    def _folder(self, files: Files, path: str, limit: Limit) -> pa.Table:
        """The rows of all files of a folder, in order of their names; those without a byte have none."""
        tables: dict[str, pa.Table] = {}
        parts = [part for part in self._place.parts(path) if part.lower().endswith(_format(path))]
        for part in parts:
            of_part = Limit(self._where(part), limit.max_bytes)
            try:
                tables[of_part.where] = _parse(self._place.read(part, of_part), files, of_part)
            except FileNotFoundError:
                raise FaultError(f"source: {of_part.where} was there and is gone; is somebody writing it?") from None
            limit.check(sum(table.nbytes for table in tables.values()))
        if not parts:
            raise DataError(f"source: {limit.where} is not there; deliver it, or correct the path")
        tables = {where: table for where, table in tables.items() if table.num_columns}
        schemas = [table.schema for table in tables.values()]
        if odd := [where for where, schema in zip(tables, schemas, strict=True) if not schema.equals(schemas[0])]:
            raise DataError(
                f"source: the files of {limit.where} do not fit together: {odd[0]} has other columns or types than the "
                "first; deliver them again"
            )
        return pa.concat_tables(tables.values()) if tables else pa.table({})

    def _where(self, path: str) -> str:
        return f"{self._root.rstrip('/')}/{path}"


def _path(files: Files, topic: str, day: date | None = None) -> str:
    return files.path.format(topic=topic, date=day and day.isoformat()).lstrip("/")


def _format(path: str) -> tuple[str, ...]:
    return PARQUET if path.lower().endswith(PARQUET) else CSV


def _parse(content: bytes, files: Files, limit: Limit) -> pa.Table:
    """A file's rows. A CSV file without a byte has none, and no columns."""
    named = limit.where.lower()
    if named.endswith(".gz") and content and not content.startswith(GZIP):
        raise DataError(f"source: {limit.where} is broken: it is not packed with gzip; deliver it again")
    content = unpacked(content, limit)
    if _format(named) is PARQUET:
        return read_parquet(io.BytesIO(content), limit)
    return read_csv(content, limit, files.null_words, quoted_nulls=files.quoted_nulls)
