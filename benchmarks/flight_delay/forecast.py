"""`GET /v1/forecast` at 64 clients while its upstreams take 0.5 s, 2 s and 4 s one after the other.

    python -m benchmarks.flight_delay.forecast [--seconds 5]

One worker of our server with everything on (API key, limits, metrics, JSON logs) on one core; the load generator and
the three simulated upstreams, a process each, share another. Five parts, in this order:

- cold, nothing published: each client asks for a flight that is new to all, waits as the answer says and asks again;
- warm: the flights of the first part again and again, for `--seconds`;
- one key: all clients ask for the same new flight at once; the upstreams count;
- cold, published: every request names another flight, of which a nightly prediction is published;
- down: as warm, while the upstreams hang for ever and what is held has become stale.

Writes its section of docs/benchmarks.md, unless --no-page is given; the last line is JSON.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import socket
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx

from benchmarks.load import Measured, measure, percentile
from benchmarks.page import write_section
from serving.access.caller import Scope
from serving.access.keys import KeyFile
from tests.factory import flight_id
from tests.published_lake import DAY, PublishedLake
from tests.upstreams import NAMES, Mode, UpstreamProcess

ROOT = Path(__file__).resolve().parents[2]
COMMAND = "make bench-serving"
DELAYS = dict(zip(NAMES, (0.5, 2.0, 4.0), strict=True))
CLIENTS = 64
COLD_KEYS = 128
PUBLISHED_DAYS, FLIGHTS_A_DAY = 4, 5_000
COLD_SECONDS = 1.0
"""Short enough that no client gets to a flight that another one has asked for."""
FRESH_SECONDS = 60
TARGET_COLD_MS, TARGET_WARM_MS = 2_000, 20


@dataclass
class Server:
    """Our server, and what it is asked with."""

    port: int
    headers: dict[str, str]
    pid: int = 0

    @property
    def url(self) -> str:
        """Where it listens."""
        return f"http://127.0.0.1:{self.port}"

    def cpu_seconds(self) -> float:
        """What it has used of its core so far; too little of it in a second of load, and others have used the rest."""
        fields = Path(f"/proc/{self.pid}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def request(self, flight: str) -> bytes:
        """A question, ready to be sent."""
        lines = {"Host": "bench", **self.headers}
        head = "".join(f"{name}: {value}\r\n" for name, value in lines.items())
        return f"GET /v1/forecast?flight_id={flight} HTTP/1.1\r\n{head}\r\n".encode()

    def forecast(self, flight: str) -> dict[str, Any]:
        """An answer."""
        answer = httpx.get(f"{self.url}/v1/forecast", params={"flight_id": flight}, headers=self.headers, timeout=30)
        return dict(answer.raise_for_status().json())


@dataclass
class Cold:
    """What clients met who asked for what was not there yet."""

    latencies: list[float] = field(default_factory=list)
    statuses: Counter[int] = field(default_factory=Counter)
    calls_until_answered: list[int] = field(default_factory=list)


@dataclass(frozen=True)
class Found:
    """What each part gave; `busy` is the server's share of its core while it was warm."""

    cold: Cold
    warm: Measured
    busy: float
    together: dict[str, int]
    published: Measured
    down: Measured


def main() -> None:
    """Measure, write the page, print the figures as JSON."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--seconds", type=float, default=5.0)
    parser.add_argument("--no-page", action="store_true")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="nightshift-bench-") as name, ExitStack() as stack:
        found = run(Path(name), stack, given.seconds)
    if not given.no_page:
        write_section("forecast", "The forecast, with slow upstreams", COMMAND, _page(found))
    print(json.dumps(_figures(found)))


def run(folder: Path, stack: ExitStack, seconds: float) -> Found:
    """The five parts, in order."""
    server_core, load_core = _cores()
    os.sched_setaffinity(0, {load_core})
    flights = _publish(folder / "lake")
    upstreams = {name: UpstreamProcess() for name in NAMES}
    for name, upstream in upstreams.items():
        stack.callback(upstream.stop)
        upstream.behave(name, delay=DELAYS[name])
    server = stack.enter_context(_started(folder, upstreams, server_core))
    unpublished = [f"2013-11-01-XX-{number}-JFK" for number in range(COLD_KEYS)]

    cold = asyncio.run(_until_answered(server, unpublished))
    used = server.cpu_seconds()
    warm = measure(server.port, [server.request(flight) for flight in unpublished], CLIENTS, seconds)
    busy = (server.cpu_seconds() - used) / warm.seconds
    together = _together(server, upstreams)
    published = measure(server.port, [server.request(flight) for flight in flights], CLIENTS, COLD_SECONDS)
    for name, upstream in upstreams.items():
        upstream.behave(name, mode=Mode.HANG)
    _wait_until_stale(server, unpublished)
    down = measure(server.port, [server.request(flight) for flight in unpublished], CLIENTS, seconds)
    return Found(cold, warm, busy, together, published, down)


# The parts


async def _until_answered(server: Server, flights: Sequence[str]) -> Cold:
    """Each client asks for its flights in turn, each until it is there."""
    cold = Cold()
    await asyncio.gather(*(_persist(server, flights[number::CLIENTS], cold) for number in range(CLIENTS)))
    return cold


async def _persist(server: Server, flights: Sequence[str], cold: Cold) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
    for flight in flights:
        status, calls = 0, 0
        while status != httpx.codes.OK:
            began = time.perf_counter()
            writer.write(server.request(flight))
            head = (await reader.readuntil(b"\r\n\r\n")).lower()
            await reader.readexactly(_number(head, b"content-length"))
            cold.latencies.append(time.perf_counter() - began)
            status, calls = int(head[9:12]), calls + 1
            cold.statuses[status] += 1
            if status != httpx.codes.OK:
                await asyncio.sleep(_number(head, b"retry-after"))
        cold.calls_until_answered.append(calls)
    writer.close()


def _number(head: bytes, name: bytes) -> int:
    return int(head.split(b"\r\n" + name + b":", 1)[1].split(b"\r\n", 1)[0])


def _together(server: Server, upstreams: dict[str, UpstreamProcess]) -> dict[str, int]:
    """How often each upstream is asked when all clients want one new flight of a new airport."""
    before = {name: upstream.counts()[name] for name, upstream in upstreams.items()}
    asyncio.run(_until_answered(server, ["2013-11-01-XX-1-LGA"] * CLIENTS))
    return {name: upstream.counts()[name] - before[name] for name, upstream in upstreams.items()}


def _wait_until_stale(server: Server, flights: Sequence[str]) -> None:
    deadline = time.monotonic() + 3 * FRESH_SECONDS
    while not all(server.forecast(flight)["stale"] for flight in flights[:: len(flights) // 4]):
        if time.monotonic() > deadline:
            raise SystemExit("forecasts did not become stale while the upstreams hang")
        time.sleep(1)


# The processes


def _publish(root: Path) -> list[str]:
    """Nightly predictions of more flights than are asked for; their ids."""
    lake = PublishedLake(root)
    days = [DAY + timedelta(days=number) for number in range(PUBLISHED_DAYS)]
    for day in days:
        as_of = datetime(day.year, day.month, day.day, 5, tzinfo=UTC)
        lake.publish("nightly", day, probability=0.25, as_of=as_of, rows=FLIGHTS_A_DAY)
    return [flight_id(day, number) for day in days for number in range(FLIGHTS_A_DAY)]


@contextmanager
def _started(folder: Path, upstreams: dict[str, UpstreamProcess], core: int) -> Iterator[Server]:
    keys = folder / "keys.json"
    key = KeyFile(keys).new("bench", frozenset({Scope.PREDICT}))
    server = Server(_free_port(), {"Authorization": f"Bearer {key}"})
    environment = {
        **os.environ,
        **{f"SERVING_{name.upper()}_URL": f"{upstream.url}/{name}" for name, upstream in upstreams.items()},
        "SERVING_PORT": str(server.port),
        "SERVING_STATE": str(folder / "state"),
        "SERVING_KEYS": str(keys),
        "SERVING_RATE": "1000000",
        "SERVING_LAKE": str(folder / "lake"),
        "SERVING_ROUTES": "include.use_cases.flight_delay.serving",
    }
    load_cores = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {core})
    with (folder / "server.log").open("wb") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "serving"], env=environment, cwd=ROOT, stdout=log, stderr=log, start_new_session=True
        )
    os.sched_setaffinity(0, load_cores)
    server.pid = process.pid
    try:
        _wait_until_read(server, process, folder / "server.log")
        yield server
    finally:
        process.terminate()
        process.wait(30)


def _wait_until_read(server: Server, process: subprocess.Popen[bytes], log: Path) -> None:
    path = f"{server.url}/v1/flights/{flight_id(DAY, 0)}/delay"
    for _ in range(600):
        try:
            if httpx.get(path, headers=server.headers, timeout=5).status_code == httpx.codes.OK:
                return
        except httpx.TransportError:
            pass
        if process.poll() is not None:
            break
        time.sleep(0.1)
    raise SystemExit(f"the server does not answer: {log.read_text(encoding='utf-8')[-2000:]}")


def _cores() -> tuple[int, int]:
    cores = sorted(os.sched_getaffinity(0))
    if len(cores) < 2:
        raise SystemExit("this bench needs two cores: one for the server, one for the load")
    return cores[0], cores[1]


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


# What was found


def _figures(found: Found) -> dict[str, Any]:
    cold, warm, published, down = found.cold, found.warm, found.published, found.down
    cold_p99, published_p99 = percentile(cold.latencies, 0.99), published.milliseconds(0.99)
    warm_p99 = warm.milliseconds(0.99)
    return {
        "bench": "forecast",
        "clients": CLIENTS,
        "cold_p99_ms": round(cold_p99, 1),
        "cold_max_ms": round(max(cold.latencies) * 1000, 1),
        "cold_statuses": {str(status): count for status, count in sorted(cold.statuses.items())},
        "cold_calls_until_answered_max": max(cold.calls_until_answered),
        "cold_published_p50_ms": round(published.milliseconds(0.5), 2),
        "cold_published_p99_ms": round(published_p99, 2),
        "cold_published_requests": len(published.latencies),
        "warm_p50_ms": round(warm.milliseconds(0.5), 2),
        "warm_p99_ms": round(warm_p99, 2),
        "warm_rps": round(warm.rate),
        "server_busy": round(found.busy, 2),
        "down_p99_ms": round(down.milliseconds(0.99), 2),
        "errors": published.errors + warm.errors + down.errors,
        "calls_for_one_key": found.together,
        "load_busy": round(max(published.busy, warm.busy, down.busy), 2),
        "kept": max(cold_p99, published_p99) <= TARGET_COLD_MS and warm_p99 <= TARGET_WARM_MS,
    }


def _page(found: Found) -> str:
    def row(name: str, measured: Measured) -> str:
        p50, p99 = measured.milliseconds(0.5), measured.milliseconds(0.99)
        return f"| {name} | {len(measured.latencies):,} | {p50:.1f} | {p99:.1f} | {measured.errors} |"

    cold = found.cold
    p50, p99 = percentile(cold.latencies, 0.5), percentile(cold.latencies, 0.99)
    return f"""\
{CLIENTS} clients that ask again as soon as they are answered, one worker with everything on. The upstreams take \
0.5 s, 2 s and 4 s, one after the other. Promised: p99 ≤ 2,000 ms for cold keys, ≤ 20 ms for warm ones.

| keys | requests | p50 ms | p99 ms | errors |
| --- | --- | --- | --- | --- |
| cold, nothing published: 503 with Retry-After until it is there | {len(cold.latencies)} | {p50:.1f} | {p99:.1f} | 0 |
{row("warm", found.warm)}
{row("cold, a nightly prediction published", found.published)}
{row("warm, upstreams hang for ever: stale answers, marked", found.down)}

A flight of which nothing is published was answered on call {max(cold.calls_until_answered)} at the latest. \
{CLIENTS} clients who want the same new flight make {sum(found.together.values())} upstream calls: one of each. \
While they were warm the server used {found.busy:.0%} of its core, the load generator {found.warm.busy:.0%} of \
its own."""


if __name__ == "__main__":
    main()
