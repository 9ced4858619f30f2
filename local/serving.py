"""The serving API on this machine: its process, and the questions the stack asks it."""

from __future__ import annotations

import os
import sys
from dataclasses import dataclass
from typing import Any

from include.errors import FaultError
from include.packages import first_package
from include.use_case import load_use_case
from local.http import ask, is_up
from local.ports import require_free
from local.processes import Process, Processes
from local.stack import Stack

SERVER = "serving"


@dataclass(frozen=True)
class Serving:
    """The server that answers predictions, and keeps what it serves in a folder of its own."""

    stack: Stack
    token: str
    url: str
    s3_endpoint: str | None
    lake: str
    processes: Processes

    def require_port(self) -> None:
        """Refuse when something else listens where the server is to."""
        if not self.processes.running(SERVER):
            port = self.stack.serving_port
            require_free(self.stack.host, port, service="serving", variable="NIGHTSHIFT_SERVING_PORT")

    def start(self) -> Process:
        """Start the server; it is not yet ready when this returns."""
        self.require_port()
        use_case = load_use_case(first_package(self.stack.use_cases))
        looked_up = {"SERVING_LAKE": self.lake, "SERVING_USE_CASE": use_case.name}
        if use_case.has_part("serving"):
            looked_up["SERVING_ROUTES"] = f"{use_case.spec.package}.serving"
        given = {name: value for name, value in os.environ.items() if not name.startswith("NIGHTSHIFT_")}
        environment = (
            looked_up
            | given
            | {
                "SERVING_HOST": self.stack.host,
                "SERVING_PORT": str(self.stack.serving_port),
                "SERVING_TOKEN": self.token,
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

    def model(self) -> dict[str, Any] | None:
        """What is served: version, sha256, uri, use case and since when; None if nothing is, or no server answers."""
        try:
            return dict(ask(f"{self.url}/v1/model", seconds=5))
        except FaultError:
            return None
