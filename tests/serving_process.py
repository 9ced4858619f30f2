"""A real serving process on a free port, with the few calls that tests make."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import httpx

from tests.waiting import PATIENCE

ROOT = Path(__file__).resolve().parent.parent
TOKEN = "a-token-for-tests"
ROUTES = {"SERVING_USE_CASE": "flight_delay", "SERVING_ROUTES": "include.use_cases.flight_delay.serving"}
"""What a server is told of whose predictions it looks up."""


def free_port() -> int:
    """A port nobody listens on now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class ServingProcess:
    """`python -m serving`, started, killed and started again on one port and state folder."""

    def __init__(self, state: Path, *, token: str = TOKEN, **settings: str) -> None:
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.state = state
        self.log = state.parent / f"serving-{self.port}.log"
        self.environment = {
            "PATH": os.environ["PATH"],
            "SERVING_PORT": str(self.port),
            "SERVING_STATE": str(state),
            "SERVING_TOKEN": token,
            **settings,
        }
        self.process: subprocess.Popen[bytes] | None = None

    def start(self) -> ServingProcess:
        """Start it and wait until it answers."""
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "serving"], cwd=ROOT, env=self.environment, stdout=log, stderr=log
            )
        deadline = time.monotonic() + PATIENCE
        while time.monotonic() < deadline:
            if self.process.poll() is not None:
                raise AssertionError(f"serving ended with {self.process.returncode}: {self.log.read_text()}")
            try:
                httpx.get(f"{self.url}/healthz", timeout=1)
            except httpx.TransportError:
                time.sleep(0.02)
            else:
                return self
        raise AssertionError(f"serving did not answer in {PATIENCE:g} s: {self.log.read_text()}")

    def stop(self, how: signal.Signals = signal.SIGTERM) -> int:
        """Signal it and return how it ended."""
        assert self.process is not None
        if self.process.poll() is None:
            self.process.send_signal(how)
        return self.process.wait(timeout=PATIENCE)

    def reset(self) -> None:
        """Alive, and serving nothing."""
        if self.process is None or self.process.poll() is not None:
            self.start()
        headers = {"Authorization": f"Bearer {TOKEN}"}
        httpx.delete(f"{self.url}/admin/deployments", headers=headers, timeout=PATIENCE).raise_for_status()

    def get(self, path: str, *, known: bool = False) -> httpx.Response:
        """The answer to somebody, `known` by a credential or not."""
        headers = {"Authorization": f"Bearer {self.environment['SERVING_TOKEN']}"} if known else {}
        return httpx.get(f"{self.url}{path}", headers=headers, timeout=PATIENCE)

    def predict(self, rows: Any) -> httpx.Response:
        return httpx.post(f"{self.url}/v1/predict", json={"rows": rows}, timeout=PATIENCE)

    def deploy(
        self, uri: str, sha256: str, version: str, *, use_case: str = "flight_delay", **more: Any
    ) -> httpx.Response:
        body = {"model_uri": uri, "sha256": sha256, "version": version, "use_case": use_case, **more}
        headers = {"Authorization": f"Bearer {TOKEN}"}
        return httpx.post(f"{self.url}/admin/deployments", json=body, headers=headers, timeout=PATIENCE)

    def rollout(self) -> dict[str, Any]:
        """The last rollout, under way or ended."""
        found: dict[str, Any] = self.get("/v1/deployments/current").raise_for_status().json()["rollout"]
        return found

    def ended(self) -> dict[str, Any]:
        """The last rollout, once it has ended."""
        deadline = time.monotonic() + PATIENCE
        while (found := self.rollout())["phase"] not in ("promoted", "rolled_back", "aborted"):
            assert time.monotonic() < deadline, found
            time.sleep(0.05)
        return found
