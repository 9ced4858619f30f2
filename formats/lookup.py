"""The file beside a partition's predictions that serving looks up; the pipeline writes it, serving reads it.

serving reads no Parquet. The file is one JSON object of columns, under the partition's manifest.
"""

from __future__ import annotations

FILE = "lookup.json"
LOCATION = ("code", "name", "latitude", "longitude", "time_zone")
"""The columns of a location: text, text, degrees, degrees, IANA name."""


def is_lookup(name: str) -> bool:
    """Whether a published file is one: the lake puts a piece of the content's hash into its name."""
    return name.startswith("lookup-") and name.endswith(".json") and "/" not in name
