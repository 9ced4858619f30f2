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

from formats.replica_report import ReplicaReport
from tests.releases import USE_CASE, ReleasesFolder
from tests.waiting import PATIENCE, until

ROOT = Path(__file__).resolve().parent.parent
ROUTES = {"SERVING_ROUTES": "include.use_cases.flight_delay.serving"}
"""What a server is told of the use case that has routes of its own."""


def free_port() -> int:
    """A port nobody listens on now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class ServingProcess:
    """`python -m serving`, started, killed and started again on one port, state folder and releases folder."""

    def __init__(self, state: Path, releases: Path | str | None = None, **settings: str) -> None:
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.state = state
        self.log = state.parent / f"serving-{self.port}.log"
        self.releases = ReleasesFolder(releases or state.parent / f"releases-{self.port}")
        self.environment = {
            "PATH": os.environ["PATH"],
            "SERVING_PORT": str(self.port),
            "SERVING_STATE": str(state),
            "SERVING_RELEASES": self.releases.place,
            "SERVING_POLL_SECONDS": "0.05",
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
        number = self.releases.withdraw().number
        self.until_entry(number)
        log = self.releases.log()
        for report in log.reports():
            if report.entry < number:  # of a process that was killed: nobody need wait until it counts as gone
                log.forget(report.replica)

    def workers(self) -> set[int]:
        """The process ids of its workers, where it has more than one."""
        return _children(self.pid)

    @property
    def pid(self) -> int:
        """The process id, of the parent where it has workers."""
        assert self.process is not None
        return self.process.pid

    def until_entry(self, number: int, use_case: str = USE_CASE, replicas: int = 1) -> None:
        """Wait until so many replicas have read an entry of the releases."""
        until(lambda: len([one for one in self.reports(use_case) if one.entry >= number]) >= replicas)

    def reports(self, use_case: str = USE_CASE) -> list[ReplicaReport]:
        """What its replicas say of themselves, and those of other servers that follow the same releases."""
        return [report for report in self.releases.log(use_case).reports() if not report.left]

    def get(self, path: str, *, credential: str = "") -> httpx.Response:
        """The answer to somebody, known by a credential or not."""
        headers = {"Authorization": f"Bearer {credential}"} if credential else {}
        return httpx.get(f"{self.url}{path}", headers=headers, timeout=PATIENCE)

    def predict(self, rows: Any, use_case: str = "") -> httpx.Response:
        path = f"/v1/models/{use_case}/predict" if use_case else "/v1/predict"
        return httpx.post(f"{self.url}{path}", json={"rows": rows}, timeout=PATIENCE)

    def deploy(self, uri: str, sha256: str, version: str, use_case: str = USE_CASE) -> None:
        """Release a version, and wait until it serves, in all workers."""
        self.releases.deploy(uri, sha256, version, use_case)
        workers = int(self.environment.get("SERVING_WORKERS", "1"))
        until(lambda: len([one for one in self.reports(use_case) if one.serving == sha256]) >= workers)
        until(lambda: self.served(use_case) == version)

    def served(self, use_case: str = USE_CASE) -> str | None:
        """The version that it says it serves."""
        answer = self.get(f"/v1/models/{use_case}")
        return str(answer.json()["version"]) if answer.status_code == 200 else None


def _children(pid: int) -> set[int]:
    try:
        return {int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()}
    except OSError:
        return set()
