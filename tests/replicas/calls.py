"""A steady load by a process of its own, which writes down of each request what came of it."""

from __future__ import annotations

import argparse
import http.client
import json
import random
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from urllib.parse import urlsplit

from tests.serving_process import ROOT
from tests.waiting import until

CLIENTS = 6
ROWS = 4
PATH = "/v1/models/flight_delay/predict"


@dataclass(frozen=True)
class Call:
    """A request: when it was sent and when its answer was there (s since 1970), what it was, and by whom.

    `status` is 0 where no answer came, and `why` what is wrong with the call.
    """

    sent: float
    ended: float
    status: int
    version: str = ""
    replica: str = ""
    why: str = ""


class Calls:
    """Starts the load in a `with` block; what was seen can be read at any time."""

    def __init__(self, url: str, folder: Path, rate: float = 80.0) -> None:
        self._file = folder / f"calls-{time.monotonic_ns()}.jsonl"
        self._argv = [sys.executable, "-m", __name__, "--url", url, "--rate", str(rate), "--file", str(self._file)]
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Calls:
        self._process = subprocess.Popen(self._argv, cwd=ROOT, stdin=subprocess.PIPE)
        until(self.seen)
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def stop(self) -> list[Call]:
        """End the load after its last answers; all calls, by when they were sent."""
        assert self._process is not None
        if self._process.stdin is not None:
            self._process.stdin.close()
        self._process.wait()
        return self.seen()

    def seen(self, since: float = 0.0) -> list[Call]:
        """The calls sent since then."""
        try:
            lines = self._file.read_text(encoding="utf-8").splitlines(keepends=True)
        except FileNotFoundError:
            return []
        calls = [Call(**json.loads(line)) for line in lines if line.endswith("\n")]
        return sorted((call for call in calls if call.sent >= since), key=lambda call: call.sent)

    def until_version(self, version: str, since: float = 0.0) -> None:
        """Wait until a request that was sent since then is answered by a version."""
        until(lambda: any(call.version == version for call in self.seen(since)))

    def until_all_answer(self, version: str, replicas: int, since: float = 0.0) -> None:
        """Wait until so many replicas have answered with a version."""
        until(lambda: len({call.replica for call in self.seen(since) if call.version == version}) == replicas)

    def until_answer(self, replica: str, version: str, since: float = 0.0) -> None:
        """Wait until a replica has answered with a version."""
        until(lambda: any((call.replica, call.version) == (replica, version) for call in self.seen(since)))

    def last_by(self, version: str) -> float:
        """When the last request was sent that a version answered (s since 1970)."""
        return max(call.sent for call in self.seen() if call.version == version)

    def failed(self) -> list[Call]:
        """The calls that were not answered well, or whose answer names no version."""
        return [call for call in self.seen() if call.status != 200 or not call.version]


def main() -> None:
    """Ask until standard input ends."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--url", required=True)
    parser.add_argument("--rate", type=float, required=True)
    parser.add_argument("--file", type=Path, required=True)
    told = parser.parse_args()
    stop = threading.Event()
    with told.file.open("a", buffering=1, encoding="utf-8") as file:

        def note(call: Call) -> None:
            file.write(json.dumps(asdict(call)) + "\n")

        clients = [
            threading.Thread(target=_ask, args=(told.url, CLIENTS / told.rate, place, note, stop))
            for place in range(CLIENTS)
        ]
        for client in clients:
            client.start()
        sys.stdin.read()
        stop.set()
        for client in clients:
            client.join()


def _ask(url: str, pause: float, place: int, note: Callable[[Call], None], stop: threading.Event) -> None:
    """One client with a connection that it keeps, and opens again once it has ended."""
    lot = random.Random(place)
    connection = http.client.HTTPConnection(urlsplit(url).netloc, timeout=30)
    due = time.monotonic() + pause * place / CLIENTS
    while not stop.wait(max(0.0, due - time.monotonic())):
        due = max(due + pause, time.monotonic() - 1)
        call = _once(connection, lot)
        note(call)
        if not call.status:
            connection.close()


def _once(connection: http.client.HTTPConnection, lot: random.Random) -> Call:
    rows = [
        {"distance": lot.uniform(-3, 3), "hour": lot.randrange(24), "carrier": lot.choice(("AA", "B6", "UA"))}
        for _ in range(ROWS)
    ]
    sent = time.time()
    try:
        connection.request("POST", PATH, json.dumps({"rows": rows}), {"Content-Type": "application/json"})
        answer = connection.getresponse()
        content = answer.read()
    except (OSError, http.client.HTTPException) as error:
        return Call(sent, time.time(), 0, why=repr(error))
    replica, ended = answer.getheader("x-replica", ""), time.time()
    if answer.status != 200:
        return Call(sent, ended, answer.status, replica=replica, why=content[:200].decode(errors="replace"))
    return Call(sent, ended, 200, str(json.loads(content).get("model_version", "")), replica)


if __name__ == "__main__":
    main()
