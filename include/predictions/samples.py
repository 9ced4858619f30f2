"""Serving's questions and answers, as tables.

A killed worker loses what it had not published yet, at most `SERVING_SAMPLE_SECONDS` of samples.
"""

from __future__ import annotations

import gzip
import io
from datetime import date
from pathlib import PurePosixPath

import pyarrow as pa
from pyarrow import json as arrow_json

from formats.sample import SUFFIX, day_folder, use_case_folder
from include.storage.lake import Lake

SCHEMA = pa.schema(
    [
        ("at", pa.timestamp("us", "UTC")),
        ("version", pa.string()),
        ("request_id", pa.string()),
        ("row", pa.int64()),
    ]
)


def samples(lake: Lake, day: date) -> pa.Table:
    """The use case's samples of a day (UTC), in order of time: `SCHEMA`, `inputs` (a struct of raw values), the answer.

    The answer's columns are its task's: `probability`; `class` and `probabilities`, a struct; or `prediction`.
    A version that takes other inputs than another one has null in those it does not. No samples: no rows, only
    `SCHEMA`.
    """
    parts = [_read(lake.store.read(name)) for name in lake.store.names(day_folder(lake.prefix, day)) if _whole(name)]
    if not parts:
        return SCHEMA.empty_table()
    return pa.concat_tables(parts, promote_options="permissive").sort_by("at")


def days(lake: Lake) -> list[date]:
    """The days of which there are samples, in order."""
    names = lake.store.names(use_case_folder(lake.prefix))
    found = {PurePosixPath(name).parent.name.removeprefix("date=") for name in names if _whole(name)}
    return sorted(map(date.fromisoformat, found))


def _whole(name: str) -> bool:
    return name.endswith(SUFFIX)


def _read(content: bytes) -> pa.Table:
    options = arrow_json.ParseOptions(explicit_schema=SCHEMA, unexpected_field_behavior="infer")
    return arrow_json.read_json(io.BytesIO(gzip.decompress(content)), parse_options=options)
