"""Batch scoring in rows a second on one core, beside scikit-learn's own `predict_proba`.

    python -m benchmarks.flight_delay.scoring [--rounds 5] [--copies 2]

Ours is what the `score` step does: features read from the lake (hash checked), encoded, answered by the portable file,
predictions published to the lake as Parquet. Beside it `predict_proba` alone, on a matrix that is encoded already, and
the plain script: Parquet in, the same encoding, `predict_proba`, Parquet out. The three take turns; seconds are the
process's own, so that a busy machine does not blur them, and everything runs on one thread. The model has 200 trees and
14 raw features, the rows are all flights of 2013, several times over. Writes its section of docs/benchmarks.md, unless
--no-page is given; the last line is JSON.
"""

from __future__ import annotations

import os

os.environ["OMP_NUM_THREADS"] = "1"  # before scikit-learn is imported

import argparse
import json
import statistics
import tempfile
import time
from collections.abc import Callable, Mapping
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from benchmarks.flight_delay.flight_model import FlightModel, flights, train
from benchmarks.page import write_section
from formats.portable_model import PortableModel
from include.modelling.inputs import encode
from include.modelling.scoring import answers
from include.storage.lake import Dataset, Lake, Layer
from stores.folder import FileStore

DAY = date(2013, 10, 1)
FEATURES = Dataset(Layer.FEATURES, "bench").on(DAY)
PREDICTIONS = Dataset(Layer.PREDICTIONS, "bench").on(DAY)
PROBABILITY = "probability"


class Sides:
    """The three ways, on the same rows and model."""

    def __init__(self, folder: Path, fitted: FlightModel, rows: pa.Table) -> None:
        self.fitted = fitted
        self.rows = rows.num_rows
        self.lake = Lake(FileStore(folder), "flight_delay")
        self.plain = folder / "plain.parquet"
        self.model = PortableModel.load(fitted.content)
        self.matrix = encode(rows, fitted.inputs)
        self.lake.publish(FEATURES, {"features.parquet": rows})
        pq.write_table(rows, self.plain)

    def ours(self) -> pa.Table:
        """Parquet in, scored Parquet out, as the step does it."""
        features = self.lake.read(FEATURES)
        scored = _scored(features, answers(self.model, features))
        self.lake.publish(PREDICTIONS, {"predictions.parquet": scored}, force=True)
        return scored

    def predict_proba(self) -> None:
        """scikit-learn alone: no file, no encoding."""
        self.fitted.trees.learner.predict_proba(self.matrix)

    def script(self) -> pa.Table:
        """What a script does with scikit-learn: Parquet in, scored Parquet out."""
        features = pq.read_table(self.plain, use_threads=False)
        scored = _scored(features, self.fitted.trees.predict(encode(features, self.fitted.inputs)))
        pq.write_table(scored, self.plain.with_name("scored.parquet"), compression="zstd")
        return scored


def _scored(features: pa.Table, found: np.ndarray) -> pa.Table:
    return features.select(["flight_id"]).append_column(PROBABILITY, pa.array(found, pa.float64()))


def main() -> None:
    """Measure in turns, print a line for each round and the figures as JSON."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--copies", type=int, default=2)
    parser.add_argument("--no-page", action="store_true")
    given = parser.parse_args()
    pa.set_cpu_count(1)
    pa.set_io_thread_count(1)
    year = flights()
    fitted = train(year)
    ids = pa.array([f"flight-{number}" for number in range(year.num_rows)])
    rows = pa.concat_tables([year.drop_columns(["late"]).append_column("flight_id", ids)] * given.copies)
    with tempfile.TemporaryDirectory(prefix="nightshift-bench-") as name:
        figures = compare(Sides(Path(name), fitted, rows), given.rounds)
    if not given.no_page:
        write_section("scoring", "Batch scoring", "make bench-scoring", page(figures))
    print(json.dumps(figures))


def compare(sides: Sides, rounds: int) -> dict[str, Any]:
    """The rounds, their median ratios, and how far the answers are apart."""
    ways: dict[str, Callable[[], object]] = {
        "ours": sides.ours, "predict_proba": sides.predict_proba, "script": sides.script,
    }  # fmt: skip
    found: dict[str, list[float]] = {name: [] for name in ways}
    for number in range(rounds):
        for name, way in ways.items():
            found[name].append(sides.rows / _cpu_seconds(way))
        print(f"round {number + 1}: " + ", ".join(f"{name} {found[name][-1]:,.0f} rows/s" for name in ways), flush=True)
    apart = np.abs(np.subtract(sides.ours()[PROBABILITY].to_numpy(), sides.script()[PROBABILITY].to_numpy())).max()
    return {
        "bench": "scoring",
        "rows": sides.rows,
        "rounds": rounds,
        **{f"{name}_rows_per_second": round(statistics.median(rates)) for name, rates in found.items()},
        "ratio_predict_proba": _ratio(found, "predict_proba"),
        "ratio_script": _ratio(found, "script"),
        "greatest_difference": float(apart),
    }


def page(figures: Mapping[str, Any]) -> str:
    """The section: rows a second of CPU time, and the ratios."""
    return "\n".join(
        [
            f"{figures['rows']:,} rows, 200 trees, 14 raw features, one thread, CPU time, medians of "
            f"{figures['rounds']} interleaved rounds. Greatest difference of a probability: "
            f"{figures['greatest_difference']:.0e}.",
            "",
            "| | rows/s | ours beside it |",
            "| --- | --- | --- |",
            f"| ours, Parquet in, scored Parquet out | {figures['ours_rows_per_second']:,} | |",
            f"| scikit-learn's `predict_proba` alone | {figures['predict_proba_rows_per_second']:,} "
            f"| {figures['ratio_predict_proba']:.2f} (aim ≥ 1.5) |",
            f"| a script with it, Parquet to Parquet | {figures['script_rows_per_second']:,} "
            f"| {figures['ratio_script']:.2f} |",
        ]
    )


def _ratio(found: dict[str, list[float]], other: str) -> float:
    """The median of the rounds' ratios, ours to the other."""
    return round(statistics.median(a / b for a, b in zip(found["ours"], found[other], strict=True)), 3)


def _cpu_seconds(way: Callable[[], object]) -> float:
    start = time.process_time()
    way()
    return time.process_time() - start


if __name__ == "__main__":
    main()
