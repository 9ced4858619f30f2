"""MLflow on this machine: its database made ready, and its UI."""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from include.errors import FaultError
from include.masking import masked
from include.settings import PREFIX
from local.database import session
from local.http import is_up
from local.ports import require_free
from local.processes import Process, Processes, last_line
from local.stack import Stack, keep_secret

SERVER = "mlflow"

# MLflow makes all its tables when the registry is first used; two first users at once would collide. Its tracking half
# gets an address that is never asked: with the database's it would put its default experiment into this folder.
_FIRST_USE = """
import sys
from mlflow import MlflowClient
client = MlflowClient(tracking_uri="http://127.0.0.1", registry_uri=sys.stdin.read())
client.search_registered_models(max_results=1)
"""


@dataclass(frozen=True)
class Mlflow:
    """The tracking and registry database, and the server that shows it."""

    stack: Stack
    database_url: str
    artifacts: str
    s3_endpoint: str | None
    processes: Processes

    @property
    def is_ours(self) -> bool:
        """Whether there is a server to start; an external server needs only its address."""
        return not self.database_url.startswith(("http://", "https://"))

    @property
    def url(self) -> str:
        """Where its UI is."""
        return self.stack.url(self.stack.mlflow_port) if self.is_ours else masked(self.database_url)

    @property
    def login(self) -> str:
        """How to log in there, as `make up` says it."""
        return f"user admin, password {self.password}" if self.is_ours else "not started here"

    @property
    def password(self) -> str:
        """The password of the user `admin`."""
        return keep_secret(self.stack.state / "secrets" / "mlflow-password")

    def prepare(self) -> subprocess.Popen[bytes] | None:
        """Begin to make the database's tables; None if they are there, or if the tracking URL is no PostgreSQL."""
        if not self.database_url.startswith("postgresql") or self._has_tables():
            return None
        self.stack.logs.mkdir(parents=True, exist_ok=True)
        with self._prepare_log.open("wb") as log:
            child = subprocess.Popen(
                [sys.executable, "-c", _FIRST_USE],
                env=self._environment(),
                cwd=self.stack.root,
                stdin=subprocess.PIPE,
                stdout=log,
                stderr=log,
                close_fds=False,  # it holds the stack's lock
            )
        assert child.stdin is not None
        child.stdin.write(self.database_url.encode())
        child.stdin.close()
        return child

    def finish_preparing(self, child: subprocess.Popen[bytes] | None) -> None:
        """Wait for what `prepare` began; `FaultError` with its last line if it failed."""
        if child is not None and child.wait():
            raise FaultError(f"MLflow could not be set up: {last_line(self._prepare_log)} (log: {self._prepare_log})")

    def require_port(self) -> None:
        """Refuse when something else listens where the server is to."""
        if self.is_ours and not self.processes.running(SERVER):
            port = self.stack.mlflow_port
            require_free(self.stack.host, port, service="MLflow", variable="NIGHTSHIFT_MLFLOW_PORT")

    def start(self) -> Process:
        """Start the server; it is not yet ready when this returns."""
        self.require_port()
        argv = ["--host", self.stack.host, "--port", str(self.stack.mlflow_port)]
        return self.processes.start(
            SERVER,
            [sys.executable, "-m", "local.tracking_server", *argv],
            environment=self._environment(),
            folder=self.stack.root,
            log=self.stack.logs / f"{SERVER}.log",
        )

    def healthy(self) -> bool:
        """Whether the server answers."""
        return is_up(f"{self.url}/health")

    @property
    def _prepare_log(self) -> Path:
        return self.stack.logs / "mlflow-prepare.log"

    def _has_tables(self) -> bool:
        with session(self.database_url) as connection:
            found = connection.execute("SELECT to_regclass('model_version_tags') IS NOT NULL").fetchone()
            return bool(found and found[0])

    def _environment(self) -> dict[str, str]:
        # The address holds a password: by environment, as a command line can be read by everyone.
        elsewhere = {"MLFLOW_S3_ENDPOINT_URL": self.s3_endpoint} if self.s3_endpoint else {}
        return (
            {name: value for name, value in os.environ.items() if not name.startswith(PREFIX)}
            | elsewhere
            | {
                "MLFLOW_BACKEND_STORE_URI": self.database_url,
                "MLFLOW_DEFAULT_ARTIFACT_ROOT": self.artifacts,
                "MLFLOW_TRACKING_PASSWORD": self.password,
                "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",
                "MLFLOW_DISABLE_TELEMETRY": "true",
                "DO_NOT_TRACK": "true",
                "PYTHONPATH": str(self.stack.root),
                "PYTHONUNBUFFERED": "1",
            }
        )
