"""A partition's predictions as serving looks them up; the pipeline writes it, serving reads it.

serving reads no Parquet. `lookups/<horizon>` has a partition for each of `predictions/<horizon>`, whose one file is a
JSON object of columns.
"""

from __future__ import annotations

FOLDER = "lookups"
"""The layer of the lake that holds them."""
FILE = "lookup.json"
LOCATION = ("code", "name", "latitude", "longitude", "time_zone")
"""The columns of a location: text, text, degrees, degrees, IANA name."""
