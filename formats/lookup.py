"""A partition's predictions as serving looks them up; the pipeline writes it, serving reads it.

serving reads no Parquet. `lookups/<horizon>` has a partition for each of `predictions/<horizon>`, whose one file is a
JSON object of columns.
"""

from __future__ import annotations

from typing import Any

import msgspec

FOLDER = "lookups"
"""The layer of the lake that holds them."""
FILE = "lookup.json"
Columns = dict[str, list[Any]]
"""A table: JSON values by column, instants as text in UTC."""


class LookupFile(msgspec.Struct):
    """A partition's predictions, one of each `key`, and tables beside them that a use case's own routes look up.

    `groups` are the columns of the predictions by which they are listed, `order` the one that sorts a list.
    """

    key: str
    predictions: Columns
    groups: tuple[str, ...] = ()
    order: str = ""
    tables: dict[str, Columns] = {}
