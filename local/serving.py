"""The serving API on this machine: its process, and the questions the stack asks it."""

from __future__ import annotations

import os
import sys
from dataclasses import dataclass
from typing import Any

from include.errors import FaultError
from include.use_case import load_use_case
from local.http import ask, is_up
from local.nights import specs
from local.ports import require_free
from local.processes import Process, Processes
from local.stack import Stack

SERVER = "serving"
POLL_SECONDS = 0.25
"""How often it looks for a release: on this machine's disk that costs nothing."""


@dataclass(frozen=True)
class Serving:
    """The server that answers predictions of all use cases."""

    stack: Stack
    url: str
    s3_endpoint: str | None
    lake: str
    releases: str
    processes: Processes

    def require_port(self) -> None:
        """Refuse when something else listens where the server is to."""
        if not self.processes.running(SERVER):
            port = self.stack.serving_port
            require_free(self.stack.host, port, service="serving", variable="NIGHTSHIFT_SERVING_PORT")

    def start(self) -> Process:
        """Start the server; it is not yet ready when this returns."""
        self.require_port()
        use_cases = (load_use_case(spec.package) for spec in specs(self.stack.use_cases))
        routes = [f"{one.spec.package}.serving" for one in use_cases if one.has_part("serving")]
        looked_up = {
            "SERVING_LAKE": self.lake,
            "SERVING_RELEASES": self.releases,
            "SERVING_ROUTES": ",".join(routes),
            "SERVING_POLL_SECONDS": str(POLL_SECONDS),
        }
        given = {name: value for name, value in os.environ.items() if not name.startswith("NIGHTSHIFT_")}
        environment = (
            looked_up
            | given
            | {
                "SERVING_HOST": self.stack.host,
                "SERVING_PORT": str(self.stack.serving_port),
                "SERVING_STATE": str(self.stack.state / "serving"),
                "PYTHONPATH": self.stack.python_path,
                "PYTHONUNBUFFERED": "1",
            }
        )
        if self.s3_endpoint:
            environment["SERVING_S3_ENDPOINT"] = self.s3_endpoint
        return self.processes.start(
            SERVER,
            [sys.executable, "-m", "serving"],
            environment=environment,
            folder=self.stack.root,
            log=self.stack.logs / f"{SERVER}.log",
        )

    def healthy(self) -> bool:
        """Whether the server answers at all."""
        return is_up(f"{self.url}/healthz")

    def models(self) -> list[dict[str, Any]] | None:
        """What is served of each use case: version, sha256 and since when; None if no server answers."""
        try:
            return list(ask(f"{self.url}/v1/models", seconds=5)["models"])
        except FaultError:
            return None
