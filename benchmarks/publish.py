"""Publishing 300 partitions with their Delta log, as a ratio to publishing them without it.

    python -m benchmarks.publish [rounds]

Each measurement is a fresh process with a lake of its own in a folder. It is timed from the first partition to the last
commit, so loading Delta's library is part of it. The two take turns; the ratio is the median of the rounds' ratios.
"""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
import tempfile
import time
from datetime import date, timedelta
from pathlib import Path

import numpy as np
import pyarrow as pa

from include.storage.lake import Dataset, Lake, Layer
from include.storage.store import open_store

ROUNDS = 5
PARTITIONS = 300
ROWS = 900
"""A day of examples."""
COLUMNS = 20


def publish(folder: str, *, logged: bool) -> dict[str, float]:
    """Wall-clock and CPU seconds that it takes."""
    lake = Lake(open_store(folder), "case")
    columns = {f"c{number}": np.random.default_rng(number).normal(size=ROWS) for number in range(COLUMNS)}
    table = pa.table({"id": [f"example-{number}" for number in range(ROWS)], **columns})
    wall, cpu = time.perf_counter(), time.process_time()
    for offset in range(PARTITIONS):
        partition = Dataset(Layer.FEATURES, "nightly").on(date(2013, 1, 1) + timedelta(days=offset))
        lake.publish(partition, {"features.parquet": table})
    if logged:
        from include.storage.delta_log import follow

        follow(lake, grace=timedelta(days=7))
    return {"seconds": time.perf_counter() - wall, "cpu_seconds": time.process_time() - cpu}


def measure(*, logged: bool) -> dict[str, float]:
    """One fresh process's answer of `publish`."""
    with tempfile.TemporaryDirectory() as folder:
        argv = [sys.executable, "-m", "benchmarks.publish", "with" if logged else "without", folder]
        done = subprocess.run(argv, cwd=Path(__file__).parents[1], stdout=subprocess.PIPE, check=True)
        answer: dict[str, float] = json.loads(done.stdout)
        return answer


def main(rounds: int = ROUNDS) -> None:
    """Measure, print a line for each round and the figures as JSON."""
    measure(logged=True)  # writes byte code, and reads the libraries from the disk
    pairs = []
    for number in range(rounds):
        pairs.append((measure(logged=False), measure(logged=True)))
        without, with_log = pairs[-1]
        print(f"round {number + 1}: without {without}, with its log {with_log}", flush=True)
    ratios = {
        f"{name}_ratio": round(statistics.median(after[name] / before[name] for before, after in pairs), 3)
        for name in ("seconds", "cpu_seconds")
    }
    print(json.dumps({"bench": "publish", "partitions": PARTITIONS, "rounds": rounds, **ratios}))


if __name__ == "__main__":
    match sys.argv[1:]:
        case ["with" | "without" as how, folder]:
            print(json.dumps(publish(folder, logged=how == "with")))
        case [rounds]:
            main(int(rounds))
        case _:
            main()
