"""DuckDB as a reader of its own environment: a line `delta <folder>` or `glob <folder>` in, its rows as JSON out."""

import json
import sys
from pathlib import Path

import duckdb
import duckdb_extension_delta

extension = next(Path(duckdb_extension_delta.__file__).parent.rglob("delta.duckdb_extension"))
connection = duckdb.connect(config={"allow_unsigned_extensions": "true", "autoinstall_known_extensions": "false"})
connection.execute(f"LOAD '{extension}'")
for line in sys.stdin:
    how, _, folder = line.rstrip("\n").partition(" ")
    source = f"delta_scan('{folder}')" if how == "delta" else f"read_parquet('{folder}/*/*.parquet')"
    found = connection.execute(f"SELECT data_day::varchar, amount FROM {source} ORDER BY ALL").fetchall()
    print(json.dumps(found), flush=True)
