"""What a second replica adds, and how long a rollback of ten takes.

    python -m benchmarks.flight_delay.replicas [--rounds 5] [--seconds 4] [--rollbacks 5]

A replica, and the load that asks it, share a core: one pair on one core, then two pairs on two cores, in turns, both
replicas following one releases folder. The ratio is the median of the rounds' ratios. The ten replicas look at their
releases as often as they do by default, under a load of 80 requests a second; a rollback is timed from the start of the
step's process to the moment when every replica serves the version before. Writes its section of docs/benchmarks.md,
unless --no-page is given; the last line is JSON.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.load import measure, post
from benchmarks.page import write_section
from formats.release import ReleaseEvent
from tests.portable_files import portable_bytes, write
from tests.releases import ReleasesFolder
from tests.replicas.stage import Lakes, Stage
from tests.serving_process import ServingProcess
from tests.waiting import until

COMMAND = "make bench-replicas"
CLIENTS = 8
ROOT = Path(__file__).resolve().parents[1]
PATH = "/v1/models/flight_delay/predict"
ROW = {"distance": 0.5, "hour": 7, "carrier": "UA"}
REPLICAS = 10


@dataclass(frozen=True)
class Rate:
    """Requests a second, and the CPU time of a replica for each (µs): other work on the machine changes that less."""

    per_second: float
    cpu_microseconds: float


@dataclass(frozen=True)
class Rollback:
    """One of them: until all agreed, and from its entry in the log to the last answer of the version that left (s)."""

    seconds: float
    agreed_seconds: float


def main() -> None:
    """Measure, write the page, print the figures as JSON."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=4.0)
    parser.add_argument("--rollbacks", type=int, default=5)
    parser.add_argument("--no-page", action="store_true")
    parser.add_argument("--load", type=int, metavar="PORT", help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.load:
        found = measure(given.load, [post(PATH, json.dumps({"rows": [ROW]}).encode())], CLIENTS, given.seconds)
        print(json.dumps({"rate": found.rate, "requests": len(found.latencies), "errors": found.errors}))
        return
    with tempfile.TemporaryDirectory(prefix="nightshift-bench-") as name:
        rounds = scale_out(Path(name), given.rounds, given.seconds)
        rollbacks = roll_back(Path(name) / "ten", given.rollbacks)
    figures = _figures(rounds, rollbacks)
    if not given.no_page:
        write_section("replicas", "Replicas", COMMAND, _page(rounds, rollbacks, given.seconds))
    print(json.dumps(figures))


def scale_out(folder: Path, rounds: int, seconds: float) -> list[tuple[Rate, Rate]]:
    """Requests a second of one replica and of two, round by round."""
    everywhere = os.sched_getaffinity(0)
    cores = sorted(everywhere)[:2]
    if len(cores) < 2:
        raise SystemExit("bench-replicas needs two cores")
    releases = ReleasesFolder(folder / "releases")
    replicas = [ServingProcess(folder / f"{core}" / "state", releases.place) for core in cores]
    found = []
    try:
        for core, replica in zip(cores, replicas, strict=True):
            replica.environment.pop("SERVING_POLL_SECONDS")
            replica.state.parent.mkdir()
            os.sched_setaffinity(0, {core})  # a child runs where its parent may
            replica.start()
        os.sched_setaffinity(0, everywhere)
        releases.deploy(*write(folder, portable_bytes()), "1")
        for replica in replicas:
            until(lambda replica=replica: replica.served() == "1")  # type: ignore[misc]
        _rate(cores, replicas, 1.0)
        for number in range(rounds):
            one, two = _rate(cores[:1], replicas[:1], seconds), _rate(cores, replicas, seconds)
            found.append((one, two))
            print(f"round {number + 1}: one {one}, two {two}, ratio {two.per_second / one.per_second:.2f}", flush=True)
    finally:
        os.sched_setaffinity(0, everywhere)
        for replica in replicas:
            if replica.process is not None:
                replica.stop()
    return found


def _rate(cores: Sequence[int], replicas: Sequence[ServingProcess], seconds: float) -> Rate:
    """What these replicas answer together, each asked by a load of its own on its core."""
    before = sum(_cpu_seconds(replica) for replica in replicas)
    argv = [sys.executable, "-m", "benchmarks.flight_delay.replicas", "--seconds", str(seconds), "--load"]
    loads = [
        subprocess.Popen(["taskset", "-c", str(core), *argv, str(replica.port)], cwd=ROOT, stdout=subprocess.PIPE)
        for core, replica in zip(cores, replicas, strict=True)
    ]
    answers = [json.loads(load.communicate()[0]) for load in loads]
    if errors := sum(answer["errors"] for answer in answers):
        raise SystemExit(f"{errors} requests failed: nothing was measured")
    cpu = sum(_cpu_seconds(replica) for replica in replicas) - before
    return Rate(sum(answer["rate"] for answer in answers), cpu / sum(answer["requests"] for answer in answers) * 1e6)


def _cpu_seconds(replica: ServingProcess) -> float:
    """CPU time that a replica has used, user and system."""
    assert replica.process is not None
    stat = Path(f"/proc/{replica.process.pid}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()
    return (int(stat[11]) + int(stat[12])) / os.sysconf("SC_CLK_TCK")


def roll_back(folder: Path, times: int) -> list[Rollback]:
    """As many rollbacks of ten replicas under load."""
    found = []
    with closing(Stage.build(folder, Lakes.FOLDER, REPLICAS)) as stage:
        for number in range(times):
            first = stage.served()
            with stage.calls() as calls:
                second = stage.nights.champion()
                stage.nights.deploy(watch=1).ends_well()
                stage.replicas.until_agreed(second)
                known, began = stage.replicas.log.last(), time.time()
                stage.nights.rollback().ends_well()
                stage.replicas.until_agreed(first)
                seconds = time.time() - began
                back = stage.replicas.until_event(ReleaseEvent.ROLLED_BACK, known)
                calls.stop()
                if failed := calls.failed():
                    raise SystemExit(f"{len(failed)} requests failed, the first: {failed[0]}")
            late = max(0.0, calls.last_by(second) - back.at.timestamp())
            found.append(Rollback(seconds, late))
            print(f"rollback {number + 1}: {seconds:.2f} s, agreed {late:.2f} s after the entry", flush=True)
    return found


def _figures(rounds: Sequence[tuple[Rate, Rate]], rollbacks: Sequence[Rollback]) -> dict[str, Any]:
    return {
        "bench": "replicas",
        "rate_one": round(statistics.median(one.per_second for one, _ in rounds)),
        "rate_two": round(statistics.median(two.per_second for _, two in rounds)),
        "ratio": round(statistics.median(two.per_second / one.per_second for one, two in rounds), 2),
        "cpu_microseconds_one": round(statistics.median(one.cpu_microseconds for one, _ in rounds), 1),
        "cpu_microseconds_two": round(statistics.median(two.cpu_microseconds for _, two in rounds), 1),
        "rollback_seconds": round(statistics.median(one.seconds for one in rollbacks), 2),
        "rollback_seconds_worst": round(max(one.seconds for one in rollbacks), 2),
        "agreed_seconds_worst": round(max(one.agreed_seconds for one in rollbacks), 2),
    }


def _page(rounds: Sequence[tuple[Rate, Rate]], rollbacks: Sequence[Rollback], seconds: float) -> str:
    found = _figures(rounds, rollbacks)
    one, two = (
        f"{found[f'rate_{name}']:,} requests/s, {found[f'cpu_microseconds_{name}']} µs of CPU each"
        for name in ("one", "two")
    )
    return "\n".join(
        [
            f"{len(rounds)} rounds of {seconds:g} s, one row a request; each replica shares a core with the {CLIENTS} "
            f"clients that ask it. Then {len(rollbacks)} rollbacks of {REPLICAS} replicas behind HAProxy, with default "
            "settings and 80 requests/s; no request failed.",
            "",
            "| | aim | measured |",
            "| --- | --- | --- |",
            f"| one replica on one core | | {one} |",
            f"| two replicas on two cores | | {two} |",
            f"| their ratio | ≥ 1.8 | {found['ratio']} |",
            f"| rollback, until all {REPLICAS} serve the version before | ≤ 5 s | {found['rollback_seconds']} s (worst "
            f"{found['rollback_seconds_worst']} s) |",
            f"| from its entry to the last answer of the version that left | ≤ 2 s | worst "
            f"{found['agreed_seconds_worst']} s |",
        ]
    )


if __name__ == "__main__":
    main()
