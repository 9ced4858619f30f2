"""The chain's upstreams, simulated: a real HTTP server that is slow, fails or hangs as it is told.

`python -m tests.upstreams` prints its port. `PUT /behaviour/{name}` changes one of location, sensor and prediction,
`GET /counts` says how often each was asked.
"""

from __future__ import annotations

import asyncio
import json
import os
import socket
import subprocess
import sys
from collections import Counter
from datetime import UTC, datetime
from enum import StrEnum
from pathlib import Path
from typing import Any

import httpx

from tests.waiting import PATIENCE

ROOT = Path(__file__).resolve().parent.parent
NAMES = ("location", "sensor", "prediction")
HOURS = 3600.0


class Mode(StrEnum):
    """What an upstream does with a call, after its delay."""

    ANSWER = "answer"
    FAIL = "fail"
    HANG = "hang"
    HANG_ONCE = "hang_once"
    MISSING = "missing"
    NONSENSE = "nonsense"
    ENDLESS = "endless"


class Simulator:
    """The ASGI application."""

    def __init__(self) -> None:
        self.delays = dict.fromkeys(NAMES, 0.0)
        self.modes = dict.fromkeys(NAMES, Mode.ANSWER)
        self.counts: Counter[str] = Counter()

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        path = scope["path"].strip("/")
        if path == "counts":
            await _send(send, 200, dict(self.counts))
        elif path.startswith("behaviour/"):
            told = json.loads((await receive())["body"])
            name = path.removeprefix("behaviour/")
            self.delays[name], self.modes[name] = told["delay"], Mode(told["mode"])
            await _send(send, 200, told)
        elif path in NAMES:
            self.counts[path] += 1
            query = dict(pair.split("=") for pair in scope["query_string"].decode().split("&"))
            await self._answer(path, query, send)

    async def _answer(self, name: str, query: dict[str, str], send: Any) -> None:
        mode = self.modes[name]
        if mode is Mode.HANG_ONCE:
            self.modes[name] = Mode.ANSWER
        hangs = mode in (Mode.HANG, Mode.HANG_ONCE)
        await asyncio.sleep(HOURS if hangs else self.delays[name])
        match mode:
            case Mode.FAIL:
                await _send(send, 500, {"detail": "told to fail"})
            case Mode.MISSING:
                await _send(send, 404, {"detail": "none"})
            case Mode.NONSENSE:
                await _send(send, 200, answer(name, query) | {"probability": 1.7, "latitude": "north", "values": 3})
            case Mode.ENDLESS:
                await _send(send, 200, answer(name, query) | {"more": "x" * 2**20})
            case _:
                await _send(send, 200, answer(name, query))


def answer(name: str, query: dict[str, str]) -> dict[str, Any]:
    """What an upstream says: the origin is the last part of a flight's id, the probability comes from its length."""
    now = datetime.now(UTC).isoformat()
    match name:
        case "location":
            code = query["flight_id"].rpartition("-")[2]
            return {"code": code, "name": f"{code} Intl", "latitude": 40.6, "longitude": -73.8, "time_zone": "UTC"}
        case "sensor":
            return {"location": query["location"], "known_at": now, "values": {"temperature": 61.5, "wind_gust": None}}
        case _:
            flight = query["flight_id"]
            return {
                "flight_id": flight,
                "probability": len(flight) / 100,
                "as_of": now,
                "model_version": "simulated",
            }


async def _send(send: Any, status: int, body: Any) -> None:
    content = json.dumps(body).encode()
    headers = [(b"content-type", b"application/json"), (b"content-length", str(len(content)).encode())]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": content})


class UpstreamProcess:
    """The simulator as a process of its own."""

    def __init__(self) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-m", "tests.upstreams"],
            cwd=ROOT,
            stdout=subprocess.PIPE,
            env={"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT)},
        )
        assert self.process.stdout is not None
        self.url = f"http://127.0.0.1:{int(self.process.stdout.readline())}"

    @property
    def settings(self) -> dict[str, str]:
        """The variables that make a server ask these upstreams."""
        return {f"SERVING_{name.upper()}_URL": f"{self.url}/{name}" for name in NAMES}

    def behave(self, name: str, *, delay: float = 0.0, mode: Mode = Mode.ANSWER) -> None:
        httpx.put(
            f"{self.url}/behaviour/{name}", json={"delay": delay, "mode": mode}, timeout=PATIENCE
        ).raise_for_status()

    def behave_all(self, *, delay: float = 0.0, mode: Mode = Mode.ANSWER) -> None:
        for name in NAMES:
            self.behave(name, delay=delay, mode=mode)

    def counts(self) -> Counter[str]:
        return Counter(httpx.get(f"{self.url}/counts", timeout=PATIENCE).json())

    def stop(self) -> None:
        self.process.kill()
        self.process.wait()


def main() -> None:
    """Serve on a free port until killed."""
    import uvicorn

    listener = socket.socket()
    listener.bind(("127.0.0.1", 0))
    listener.listen(1024)
    print(listener.getsockname()[1], flush=True)
    uvicorn.Server(uvicorn.Config(Simulator(), log_level="error", lifespan="off")).run(sockets=[listener])


if __name__ == "__main__":
    main()
