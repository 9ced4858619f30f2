"""polars as a reader of its own environment: a line `delta <folder>` or `glob <folder>` in, its rows as JSON out."""

import json
import sys

import polars as pl

for line in sys.stdin:
    how, _, folder = line.rstrip("\n").partition(" ")
    rows = (
        pl.scan_delta(folder)
        if how == "delta"
        else pl.scan_parquet(f"{folder}/*/*.parquet", hive_partitioning=True, extra_columns="ignore")
    )
    found = rows.select(pl.col("data_day").cast(pl.String), "amount").sort("data_day", "amount").collect()
    print(json.dumps(found.rows()), flush=True)
