"""`mlflow models serve`, our serving with everything on, and a bare spike: side by side, the same model and rows.

    python -m benchmarks.flight_delay.serving [--rounds 5] [--seconds 4] [--starts 3]

Each has one worker on one core; the load generator has another. Rounds are interleaved: in each, every server is asked
for single rows and for 100 rows by 16 clients, the others idle. Ours checks an API key, a rate limit and every field,
counts, logs each request as JSON and samples into a lake. mlflow's server has the same fitted trees behind the same
encoding as a scikit-learn pipeline, without a signature to check. All three must give the same answers, or the bench
stops. Memory is that of all processes of a server, resident, after the load. Writes its section of docs/benchmarks.md,
unless --no-page is given; the last line is JSON.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import math
import os
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pandas as pd
import pyarrow as pa

from benchmarks.flight_delay.flight_model import CATEGORIES, NUMBERS, FlightModel, flights, train
from benchmarks.load import Measured, measure, percentile, post
from benchmarks.page import write_section
from formats.release import InService, Release, ReleaseEvent
from formats.release_log import ReleaseLog
from serving.access.caller import Scope
from serving.access.keys import KeyFile
from stores.store import open_store

ROOT = Path(__file__).resolve().parents[2]
COMMAND = "make bench-serving"
CLIENTS, MANY_CLIENTS = 16, 64
SHAPES = {"one_row": 1, "hundred_rows": 100}
WARM_SECONDS = 1.0
READY_SECONDS = 120
REQUESTS = 64
"""Different requests of each shape, so that a server can have no answer ready."""
EVERY = 50
"""One flight in this many is asked about."""
BUSY = 0.9
"""Above this share of its core the load generator may have been the limit, and the run says so."""

Rows = Sequence[Mapping[str, Any]]


@dataclass
class Side:
    """A server: how it is started and asked, and what was found; `rows` is what its JSON calls the rows."""

    name: str
    argv: Sequence[str]
    port: int
    path: str
    rows: str = "rows"
    ready_path: str = "/"
    headers: Mapping[str, str] = field(default_factory=dict)
    environment: Mapping[str, str] = field(default_factory=dict)
    measured: dict[str, list[Measured]] = field(default_factory=lambda: {shape: [] for shape in SHAPES})
    cpu_seconds: dict[str, float] = field(default_factory=lambda: dict.fromkeys(SHAPES, 0.0))
    ready_seconds: list[float] = field(default_factory=list)
    pid: int = 0
    rss_mb: float = math.nan

    def body(self, rows: Rows) -> bytes:
        """The JSON that asks for some rows."""
        return json.dumps({self.rows: list(rows)}, allow_nan=False).encode()

    def requests(self, rows: Rows, size: int) -> list[bytes]:
        """Up to 64 requests of this many rows each, ready to be sent."""
        parts = [rows[start * size : (start + 1) * size] for start in range(min(REQUESTS, len(rows) // size))]
        return [post(self.path, self.body(part), dict(self.headers)) for part in parts]

    def answer(self, rows: Rows) -> httpx.Response:
        """Ask once."""
        headers = {"Content-Type": "application/json", **self.headers}
        return httpx.post(f"{self.url}{self.path}", content=self.body(rows), headers=headers, timeout=30)

    @property
    def url(self) -> str:
        """Where it listens."""
        return f"http://127.0.0.1:{self.port}"

    def rate(self, shape: str) -> float:
        """Requests a second, the median of the rounds."""
        return statistics.median(round_.rate for round_ in self.measured[shape])

    def milliseconds(self, shape: str, share: float) -> float:
        """A latency over the requests of all rounds."""
        return percentile([one for round_ in self.measured[shape] for one in round_.latencies], share)

    def cpu_microseconds(self, shape: str) -> float:
        """What a request costs the server's core, whatever else the machine does."""
        return self.cpu_seconds[shape] / sum(len(one.latencies) for one in self.measured[shape]) * 1e6

    @property
    def errors(self) -> int:
        """Requests that were not answered with 200."""
        return sum(round_.errors for rounds in self.measured.values() for round_ in rounds)


class Cores:
    """One core for the servers, another for the load generator (this process)."""

    def __init__(self) -> None:
        self._all = os.sched_getaffinity(0)
        if len(self._all) < 2:
            raise SystemExit("bench-serving needs two cores: one for the servers, one for the load")
        self.server, self.load = sorted(self._all)[:2]
        os.sched_setaffinity(0, {self.load})

    def start(self, side: Side, log: Path) -> subprocess.Popen[bytes]:
        """A server's process, on the servers' core (a child inherits where its parent may run)."""
        os.sched_setaffinity(0, {self.server})
        try:
            with log.open("ab") as out:
                return subprocess.Popen(
                    side.argv, env={**os.environ, **side.environment}, cwd=ROOT, stdin=subprocess.DEVNULL, stdout=out,
                    stderr=out, start_new_session=True,
                )  # fmt: skip
        finally:
            os.sched_setaffinity(0, {self.load})


def main() -> None:
    """Start the servers, measure in turns, write the page, print the figures as JSON."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=4.0)
    parser.add_argument("--starts", type=int, default=3)
    parser.add_argument("--no-page", action="store_true")
    given = parser.parse_args()
    table = flights()
    fitted = train(table)
    with tempfile.TemporaryDirectory(prefix="nightshift-bench-") as name:
        figures, content = run(Path(name), table, fitted, given)
    if not given.no_page:
        write_section("serving", "Serving, side by side", COMMAND, content)
    print(json.dumps(figures))


def run(folder: Path, table: pa.Table, fitted: FlightModel, given: argparse.Namespace) -> tuple[dict[str, Any], str]:
    """All of it; the figures, and the page's section."""
    cores, rows = Cores(), sample(table)
    mlflow, ours, bare = sides = (mlflow_side(folder, table, fitted), our_side(folder), bare_side(folder, fitted))
    deploy(fitted, folder)
    with started(cores, ours, folder):
        pass
    for side in sides:
        # mlflow takes ten seconds, each time about the same: once is enough.
        for _ in range(given.starts - 1 if side is not mlflow else 0):
            with started(cores, side, folder):
                pass
    with started(cores, mlflow, folder), started(cores, ours, folder), started(cores, bare, folder):
        compare_answers(sides, rows[:100])
        for side in sides:
            measure(side.port, side.requests(rows, 1), CLIENTS, WARM_SECONDS)
        for number in range(given.rounds):
            one_round(number, sides, rows, given.seconds)
        many = [measure(ours.port, ours.requests(rows, size), MANY_CLIENTS, given.seconds) for size in SHAPES.values()]
        for side in sides:
            side.rss_mb = resident_mb(side.pid)
    return _figures(sides, many, given), _page(sides, many, given)


def one_round(number: int, sides: Sequence[Side], rows: Rows, seconds: float) -> None:
    """Every server in turn, single rows and many."""
    for shape, size in SHAPES.items():
        for side in sides:
            before = cpu_seconds(side.pid)
            found = measure(side.port, side.requests(rows, size), CLIENTS, seconds)
            side.cpu_seconds[shape] += cpu_seconds(side.pid) - before
            side.measured[shape].append(found)
            limit = " (the load generator was the limit)" if found.busy > BUSY else ""
            print(
                f"round {number + 1}, {shape:<12} {side.name:<7} {found.rate:>9,.0f}/s"
                f" p50 {found.milliseconds(0.5):7.2f} ms p99 {found.milliseconds(0.99):7.2f} ms"
                f" errors {found.errors}{limit}",
                flush=True,
            )


# The servers


def our_side(folder: Path) -> Side:
    """Ours, with everything on."""
    keys = folder / "keys.json"
    key = KeyFile(keys).new("bench", frozenset({Scope.PREDICT}))
    port = _free_port()
    environment = {
        "SERVING_PORT": str(port),
        "SERVING_STATE": str(folder / "state"),
        "SERVING_KEYS": str(keys),
        "SERVING_RATE": "1000000",
        "SERVING_LAKE": str(folder / "lake"),
        "SERVING_RELEASES": str(folder / "releases"),
    }
    return Side(
        "ours",
        [sys.executable, "-m", "serving"],
        port,
        "/v1/predict",
        ready_path="/readyz",
        headers={"Authorization": f"Bearer {key}"},
        environment=environment,
    )


def bare_side(folder: Path, fitted: FlightModel) -> Side:
    """The bare spike."""
    model, port = folder / "bare.onnx", _free_port()
    model.write_bytes(fitted.content)
    return Side("bare", [sys.executable, "-m", "benchmarks.bare_server", str(model), str(port)], port, "/")


def mlflow_side(folder: Path, table: pa.Table, fitted: FlightModel) -> Side:
    """mlflow's own server, in this environment."""
    model, port = folder / "mlflow", _free_port()
    _save_pipeline(model, table, fitted)
    argv = [sys.executable, "-m", "mlflow", "models", "serve", "--model-uri", str(model), "--host", "127.0.0.1"]
    argv += ["--port", str(port), "--env-manager", "local", "--workers", "1"]
    environment = {
        "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",  # it looks for uvicorn there
        "MLFLOW_DISABLE_TELEMETRY": "true",
        "MLFLOW_TRACKING_URI": (folder / "runs").as_uri(),
    }
    return Side("mlflow", argv, port, "/invocations", "dataframe_records", ready_path="/ping", environment=environment)


def _save_pipeline(path: Path, table: pa.Table, fitted: FlightModel) -> None:
    import mlflow.sklearn
    from sklearn.compose import ColumnTransformer
    from sklearn.pipeline import Pipeline
    from sklearn.preprocessing import OrdinalEncoder

    known = [list(one.categories) for one in fitted.inputs if one.categories]
    codes = OrdinalEncoder(categories=known, handle_unknown="use_encoded_value", unknown_value=np.nan)
    encoder = ColumnTransformer([("numbers", "passthrough", list(NUMBERS)), ("codes", codes, list(CATEGORIES))])
    encoder.fit(table.select([*NUMBERS, *CATEGORIES]).slice(0, 1000).to_pandas())
    pipeline = Pipeline([("encode", encoder), ("model", fitted.trees.learner)])
    mlflow.sklearn.save_model(
        pipeline,
        str(path),
        pyfunc_predict_fn="predict_proba",
        serialization_format="cloudpickle",
        pip_requirements=["scikit-learn"],
    )


@contextmanager
def started(cores: Cores, side: Side, folder: Path) -> Iterator[None]:
    """The server, up; how long it took until it was ready is noted, unless it has no model yet."""
    log = folder / f"{side.name}.log"
    began = time.monotonic()
    process = cores.start(side, log)
    side.pid = process.pid
    try:
        ready = _wait_until_up(side, process, log)
        if ready:
            side.ready_seconds.append(time.monotonic() - began)
        yield
    finally:
        _end(process)


def _end(process: subprocess.Popen[bytes]) -> None:
    """End a server and all that it started."""
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGTERM)
    try:
        process.wait(20)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def _wait_until_up(side: Side, process: subprocess.Popen[bytes], log: Path) -> bool:
    """Whether it is ready; False when it answers that it has nothing to serve."""
    deadline = time.monotonic() + READY_SECONDS
    while time.monotonic() < deadline:
        if process.poll() is not None:
            raise SystemExit(f"{side.name} ended with {process.returncode}: {log.read_text(encoding='utf-8')[-2000:]}")
        try:
            answer = httpx.get(f"{side.url}{side.ready_path}", timeout=5)
        except httpx.TransportError:
            time.sleep(0.02)
        else:
            return answer.status_code != httpx.codes.SERVICE_UNAVAILABLE
    raise SystemExit(f"{side.name} was not up in {READY_SECONDS} s: {log.read_text(encoding='utf-8')[-2000:]}")


def deploy(fitted: FlightModel, folder: Path) -> None:
    """The model into our server's releases, as the deploy step puts it there."""
    model = folder / "model.onnx"
    model.write_bytes(fitted.content)
    since = datetime.now(UTC)
    sha256 = hashlib.sha256(fitted.content).hexdigest()
    entry = InService(version="1", sha256=sha256, uri=model.as_uri(), use_case="flight_delay", since=since)
    first = Release(id="1", at=since, event=ReleaseEvent.DEPLOYED, version="1", use_case="flight_delay", serving=entry)
    ReleaseLog(open_store(str(folder / "releases")), "flight_delay").append(1, first)


def compare_answers(sides: Sequence[Side], rows: Rows) -> None:
    """Stop unless every server gives the same probabilities."""
    mlflow, *others = (side.answer(rows).raise_for_status().json() for side in sides)
    expected = [pair[1] for pair in mlflow["predictions"]]
    for side, found in zip(sides[1:], others, strict=True):
        if not np.allclose(found["probabilities"], expected, rtol=0, atol=1e-9):
            raise SystemExit(f"{side.name} does not answer as {sides[0].name} does: another model is measured")


def resident_mb(pid: int) -> float:
    """Resident memory of a process and all its descendants, in MB (10⁶ bytes)."""
    pages = sum(int(Path(f"/proc/{one}/statm").read_text(encoding="utf-8").split()[1]) for one in _family(pid))
    return pages * os.sysconf("SC_PAGE_SIZE") / 1e6


def cpu_seconds(pid: int) -> float:
    """CPU time that a process and all its living descendants have used, user and system."""
    fields = [Path(f"/proc/{one}/stat").read_text(encoding="utf-8").rpartition(")")[2].split() for one in _family(pid)]
    return sum(int(one[11]) + int(one[12]) for one in fields) / os.sysconf("SC_CLK_TCK")


def _family(pid: int) -> Iterator[int]:
    yield pid
    for task in Path(f"/proc/{pid}/task").iterdir():
        for child in (task / "children").read_text(encoding="utf-8").split():
            yield from _family(int(child))


# What was found


def _figures(sides: Sequence[Side], many: Sequence[Measured], given: argparse.Namespace) -> dict[str, Any]:
    mlflow, ours, bare = sides
    return {
        "bench": "serving",
        "rounds": given.rounds,
        "seconds": given.seconds,
        "ratio_one_row_16": round(_ratio(ours, mlflow, "one_row"), 1),
        "ratio_hundred_rows_16": round(_ratio(ours, mlflow, "hundred_rows"), 1),
        "ratio_p99_16": round(ours.milliseconds("one_row", 0.99) / mlflow.milliseconds("one_row", 0.99), 4),
        "ratio_bare_spike": round(_ratio(ours, bare, "one_row"), 3),
        "ratio_bare_spike_hundred": round(_ratio(ours, bare, "hundred_rows"), 3),
        "cpu_microseconds": {
            side.name: {shape: round(side.cpu_microseconds(shape), 1) for shape in SHAPES} for side in sides
        },
        "rss_mb": {side.name: round(side.rss_mb, 1) for side in sides},
        "ready_seconds": {side.name: round(statistics.median(side.ready_seconds), 2) for side in sides},
        "errors": {side.name: side.errors for side in sides},
        "errors_64": sum(one.errors for one in many),
        "load_generator_busy": round(max(one.busy for side in sides for one in side.measured["one_row"]), 2),
    }


def _ratio(ours: Side, other: Side, shape: str) -> float:
    """The median of the rounds' ratios."""
    pairs = zip(ours.measured[shape], other.measured[shape], strict=True)
    return statistics.median(one.rate / two.rate for one, two in pairs)


def _page(sides: Sequence[Side], many: Sequence[Measured], given: argparse.Namespace) -> str:
    lines = [
        f"{given.rounds} interleaved rounds of {given.seconds:g} s, one worker each on one core, the load generator on "
        f"another, {CLIENTS} clients. Rates are medians of the rounds, latencies are over all requests, CPU is the "
        "server's own for a request.",
        "",
        "| | 1 row, rate/s | p50 / p99 ms | CPU µs | 100 rows, rate/s | p50 / p99 ms | CPU µs | RSS MB | ready s |",
        f"|{' --- |' * 9}",
    ]
    names = {"mlflow": "`mlflow models serve`", "ours": "serving, everything on", "bare": "bare spike"}
    for side in sides:
        cells = [
            text
            for shape in SHAPES
            for text in (
                f"{side.rate(shape):,.0f}",
                f"{side.milliseconds(shape, 0.5):.1f} / {side.milliseconds(shape, 0.99):.1f}",
                f"{side.cpu_microseconds(shape):,.0f}",
            )
        ]
        ready = f"{statistics.median(side.ready_seconds):.1f}"
        lines.append(f"| {names[side.name]} | {' | '.join(cells)} | {side.rss_mb:.0f} | {ready} |")
    mlflow, ours, bare = sides
    errors, rates = sum(one.errors for one in many), " and ".join(f"{one.rate:,.0f}" for one in many)
    p99 = mlflow.milliseconds("one_row", 0.99) / ours.milliseconds("one_row", 0.99)
    lines += [
        "",
        "| ours beside | aim | measured |",
        "| --- | --- | --- |",
        f"| mlflow, 1 row | ≥ 40 | {_ratio(ours, mlflow, 'one_row'):.0f} |",
        f"| mlflow, 100 rows | ≥ 10 | {_ratio(ours, mlflow, 'hundred_rows'):.1f} |",
        f"| mlflow's p99, 1 row | ≤ 1/20 | 1/{p99:.0f} |",
        f"| bare spike, 1 row | ≥ 0.5 | {_ratio(ours, bare, 'one_row'):.2f} |",
        f"| resident memory | ≤ 140 MB | {ours.rss_mb:.0f} MB |",
        f"| ready after start | ≤ 2 s | {statistics.median(ours.ready_seconds):.1f} s |",
        f"| errors at {MANY_CLIENTS} clients, 1 row and 100 rows | 0 | {errors} ({rates} requests/s) |",
    ]
    return "\n".join(lines)


# What is asked


def sample(table: pa.Table) -> list[dict[str, Any]]:
    """Rows from all over the year, as JSON has them: null where a value is not known."""
    frame: pd.DataFrame = table.select([*NUMBERS, *CATEGORIES]).take(list(range(0, table.num_rows, EVERY))).to_pandas()
    rows = frame.to_dict("records")
    return [{str(name): None if pd.isna(value) else value for name, value in row.items()} for row in rows]


def _free_port() -> int:
    import socket

    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


if __name__ == "__main__":
    main()
