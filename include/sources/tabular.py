"""Sources of a user's own data: CSV or Parquet files in a folder, a bucket or behind a URL."""

from __future__ import annotations

import csv
import io
import time
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date
from threading import Lock
from urllib.error import HTTPError, URLError
from urllib.parse import urlparse
from urllib.request import urlopen

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from pyarrow import csv as arrow_csv

from include.errors import DataError, FaultError, LakeError
from include.storage.store import open_store

ATTEMPTS = 3
PAUSE_SECONDS = 0.5
TIMEOUT_SECONDS = 30.0
NULLS = ("", "NA", "NaN", "nan", "null", "NULL", "None")
"""Texts of a CSV file that mean: no value."""


@dataclass(frozen=True)
class Files:
    """Where a topic's records lie: a path below the source's root, ending in `.csv`, `.csv.gz` or `.parquet`.

    With `{date}` in the path there is one file a day; without it one file holds all days, and `date_column` names the
    column that says which (a date, or text that begins with YYYY-MM-DD).
    """

    path: str
    date_column: str | None = None

    def __post_init__(self) -> None:
        if ("{date}" in self.path) == (self.date_column is not None):
            raise ValueError(f"files {self.path!r}: give either {{date}} in the path or a date_column")


class TabularSource:
    """CSV or Parquet files of each topic under `root`: a folder, `file://`, `s3://`, `http://` or `https://`.

    CSV values are handed on as text: the contract says what they are. Bytes that are no UTF-8, a broken file and one
    that is not there are a `DataError` that names it; a place out of reach is a `FaultError` after three attempts.
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
        self._root = root.rstrip("/")
        self._topics = topics
        self._s3_endpoint = s3_endpoint
        self._lock = Lock()
        self._whole: dict[str, pa.Table] = {}

    def read(self, topic: str, day: date) -> pa.Table:
        """The topic's records of the day, columns and types as the file has them."""
        files = self._topics[topic]
        where = f"{self._root}/{files.path.format(topic=topic, date=day.isoformat())}"
        if files.date_column is None:
            return parse(self._fetch(where), where)
        with self._lock:
            if topic not in self._whole:
                self._whole[topic] = parse(self._fetch(where), where)
        return _of_day(self._whole[topic], files.date_column, day, where)

    def _fetch(self, where: str) -> bytes:
        try:
            if urlparse(where).scheme in ("http", "https"):
                return download(where)
            folder, _, name = where.rpartition("/")
            return open_store(folder or "/", s3_endpoint=self._s3_endpoint).read(name)
        except FileNotFoundError:
            raise DataError(f"source: {where} is not there; deliver it, or correct the path") from None
        except LakeError as error:
            raise FaultError(str(error).replace("lake:", "source:", 1)) from error


def download(url: str) -> bytes:
    """The body behind a URL; `FileNotFoundError` if the server says that there is none."""
    reason = ""
    for attempt in range(ATTEMPTS):
        if attempt:
            time.sleep(PAUSE_SECONDS * 2 ** (attempt - 1))
        try:
            with urlopen(url, timeout=TIMEOUT_SECONDS) as answer:  # noqa: S310 - only http and https come here
                body: bytes = answer.read()
                return body
        except HTTPError as error:
            if error.code in (404, 410):
                raise FileNotFoundError(url) from None
            reason = f"HTTP {error.code} {error.reason}"
        except (URLError, OSError) as error:
            reason = str(getattr(error, "reason", error))
    raise FaultError(f"source: {url} cannot be read after {ATTEMPTS} attempts: {reason}; is the address right and up?")


def parse(content: bytes, where: str) -> pa.Table:
    """A file's rows; `where` ends in its format and names it in errors. A file without a byte has no rows."""
    try:
        if where.endswith(".parquet"):
            return pq.read_table(io.BytesIO(content))
        if where.endswith(".csv.gz"):
            content = pa.input_stream(io.BytesIO(content), compression="gzip").read()
        return _parse_csv(content, where)
    except (pa.ArrowInvalid, OSError) as error:
        first = str(error).splitlines()[0]
        raise DataError(f"source: {where} is broken: {first}; deliver it again") from error


def _parse_csv(content: bytes, where: str) -> pa.Table:
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise DataError(
            f"source: {where} is not UTF-8: byte {content[error.start]:#04x} at position {error.start}; "
            "save it as UTF-8"
        ) from None
    header = next(csv.reader(io.StringIO(text)), [])
    if not header:
        return pa.table({})
    options = arrow_csv.ConvertOptions(
        column_types=dict.fromkeys(header, pa.string()), null_values=list(NULLS), strings_can_be_null=True
    )
    return arrow_csv.read_csv(io.BytesIO(text.encode()), convert_options=options)


def _of_day(table: pa.Table, column: str, day: date, where: str) -> pa.Table:
    if column not in table.column_names:
        raise DataError(f"source: {where} has no column {column}; it has {', '.join(table.column_names)}")
    written = pc.utf8_slice_codeunits(table[column].cast(pa.string()), 0, 10)
    return table.filter(pc.equal(written, day.isoformat()))
