"""Features in rows a second: Spark beside DuckDB, the same features from the same files, on as many threads.

    python -m benchmarks.flight_delay.features [--scales 1,10,30]

One scale is 2013 itself; the others repeat it, each copy 364 days later and with aircraft of its own. Each side reads
the three topics' Parquet files and writes feature rows to Parquet. Each measurement is a fresh process; Spark's start,
and the first small job that everything pays once, are timed apart. The marginal rate is that of the rows by which the
largest scale exceeds the smallest. Peak memory is of the process and its largest child. The last line is JSON.
"""

# ruff: noqa: S608 (the statements are put together from names in this file)

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq

from benchmarks.flight_delay.duckdb_features import final_query, prepare
from include.process import peak_rss_mib
from include.quality.contract import Column, Contract, Kind
from include.settings import Settings
from include.storage.lake import days_between
from include.use_cases.flight_delay.contracts import RAW
from include.use_cases.flight_delay.sources import source
from include.use_cases.flight_delay.spec import SPEC

THREADS = 2
DUCKDB_MEMORY = "10GB"
"""It may have nearly half of the machine, ten times what Spark's driver has, and spills what is more."""
PERIOD = 364  # days: whole weeks, so that weekdays stay weekdays
TOPICS = ("schedule", "flights", "weather")
LATER = f"to_days(({PERIOD} * copy)::int)"
COPIED = {
    "flight_id": f"strftime(date + {LATER}, '%Y-%m-%d') || substr(flight_id, 11)",
    "tailnum": "tailnum || '-' || copy",
    "date": f"(date + {LATER})::date",
}


def wanted(scale: int) -> dict[str, list[date]]:
    """The feature dates of each horizon over this many copies of the year."""
    last = SPEC.first_day + timedelta(days=PERIOD * scale - 1)
    return {horizon.name: days_between(SPEC.first_day, last) for horizon in SPEC.horizons}


def write_year(folder: Path) -> None:
    """The sample's raw records, one Parquet file a topic."""
    from include.quality.conform import conform

    origin = source(Settings())
    days = days_between(SPEC.first_day, SPEC.first_day + timedelta(days=PERIOD - 1))
    for topic in TOPICS:
        contract: Contract = RAW[topic]
        tables = [conform(origin.read(topic, day), contract, topic).good for day in days]
        pq.write_table(pa.concat_tables(tables), folder / f"{topic}-1.parquet")


def replicate(folder: Path, scale: int) -> None:
    """The same records this many times over."""
    with duckdb.connect() as connection:
        for topic in TOPICS:
            # A day later is the same hour of the wall clock, but for observations: two of theirs would become one.
            connection.execute(f"set TimeZone = '{'UTC' if topic == 'weather' else SPEC.timezone}'")
            columns = ", ".join(f"{_copied(column)} as {column.name}" for column in RAW[topic].columns)
            connection.execute(
                f"copy (select {columns} from read_parquet('{folder / topic}-1.parquet'), range({scale}) as of(copy)) "
                f"to '{folder / topic}-{scale}.parquet' (format parquet)"
            )


def _copied(column: Column) -> str:
    later = f"{column.name} + {LATER}" if column.kind is Kind.INSTANT else column.name
    return COPIED.get(column.name, later)


def run_duckdb(folder: Path, scale: int) -> dict[str, float]:
    """DuckDB's seconds for one scale."""
    database = folder / "work.duckdb"
    database.unlink(missing_ok=True)
    clock = time.monotonic()
    with duckdb.connect(str(database)) as connection:
        connection.execute(f"set memory_limit = '{DUCKDB_MEMORY}'")
        paths = {topic: str(folder / f"{topic}-{scale}.parquet") for topic in TOPICS}
        prepare(connection, paths, wanted(scale), THREADS)
        connection.execute(f"copy ({final_query()}) to '{folder / 'duckdb.parquet'}' (format parquet)")
    rows = pq.read_metadata(folder / "duckdb.parquet").num_rows
    return {"rows": rows, "seconds": time.monotonic() - clock, "start_seconds": 0.0}


def run_spark(folder: Path, scale: int) -> dict[str, float]:
    """Spark's seconds for one scale, its start apart."""
    from include.spark import spark_session
    from include.use_cases.flight_delay.features import build
    from spark_jobs.features import ROWS_PER_TASK
    from spark_jobs.scratch import READ_ONCE

    paths = {topic: str(folder / f"{topic}-{scale}.parquet") for topic in TOPICS}
    read = sum(pq.read_metadata(path).num_rows for path in paths.values())
    clock = time.monotonic()
    with spark_session(Settings(spark_master=f"local[{THREADS}]"), "benchmark", rows=read) as spark:
        spark.range(1000).selectExpr("sum(id)").collect()
        started = time.monotonic()
        raw = {topic: spark.read.parquet(path) for topic, path in paths.items()}
        spark.conf.set("spark.sql.shuffle.partitions", max(THREADS, -(-read // ROWS_PER_TASK)))
        target = folder / "spark"
        build(spark, raw, wanted(scale)).write.options(**READ_ONCE).mode("overwrite").parquet(str(target))
        done = time.monotonic()
        rows = spark.read.parquet(str(target)).count()
    return {"rows": rows, "seconds": done - started, "start_seconds": started - clock}


SIDES = {"duckdb": run_duckdb, "spark": run_spark}


def measure(side: str, folder: Path, scale: int) -> dict[str, float]:
    """One measurement in a fresh process."""
    argv = [
        sys.executable,
        "-m",
        "benchmarks.flight_delay.features",
        "--one",
        side,
        "--folder",
        str(folder),
        "--scales",
        str(scale),
    ]
    done = subprocess.run(argv, stdout=subprocess.PIPE, text=True, check=True)
    found: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return found


def main() -> None:
    """Measure every scale on both sides, print a table and the figures as JSON."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--scales", default="1,10,30")
    parser.add_argument("--one", choices=SIDES, help=argparse.SUPPRESS)
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    given = parser.parse_args()
    scales = [int(scale) for scale in given.scales.split(",")]
    if given.one:
        found = SIDES[given.one](given.folder, scales[0])
        print(json.dumps(found | {"peak_mib": peak_rss_mib()}))
        return
    with tempfile.TemporaryDirectory(prefix="nightshift-bench-") as name:
        report(compare(Path(name), scales))


def compare(folder: Path, scales: list[int]) -> dict[int, dict[str, dict[str, float]]]:
    """Both sides at every scale, one after the other, with a line for each."""
    write_year(folder)
    print(
        f"{'scale':>5}  {'side':<7} {'rows':>11} {'start s':>8} {'work s':>8} {'rows/s':>9} {'peak MiB':>9}", flush=True
    )
    results: dict[int, dict[str, dict[str, float]]] = {}
    for scale in scales:
        if scale != 1:
            replicate(folder, scale)
        results[scale] = {side: measure(side, folder, scale) for side in SIDES}
        for side, found in results[scale].items():
            rate = found["rows"] / found["seconds"]
            print(
                f"{scale:>5}  {side:<7} {found['rows']:>11,.0f} {found['start_seconds']:>8.1f} {found['seconds']:>8.1f}"
                f" {rate:>9,.0f} {found['peak_mib']:>9,.0f}",
                flush=True,
            )
    return results


def report(results: dict[int, dict[str, dict[str, float]]]) -> None:
    """The marginal rates, their ratio, the growth, and everything as one JSON line."""
    low, high = min(results), max(results)
    figures: dict[str, Any] = {"bench": "features", "threads": THREADS, "scales": results}
    if low != high:
        rates = {side: _marginal(results[low][side], results[high][side]) for side in SIDES}
        figures["marginal_rows_per_second"] = {side: round(rate) for side, rate in rates.items()}
        figures["marginal_ratio"] = round(rates["spark"] / rates["duckdb"], 3)
        figures["growth"] = {
            side: round(results[high][side]["seconds"] / results[low][side]["seconds"] / (high / low), 3)
            for side in SIDES
        }
        print(f"marginal rate, Spark to DuckDB: {figures['marginal_ratio']}; growth (1 is linear): {figures['growth']}")
    print(json.dumps(figures))


def _marginal(small: dict[str, float], large: dict[str, float]) -> float:
    return (large["rows"] - small["rows"]) / (large["seconds"] - small["seconds"])


if __name__ == "__main__":
    main()
