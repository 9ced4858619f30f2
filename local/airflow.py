"""Airflow on this machine: its environment, its commands, its processes and its REST API.

Airflow is only ever started as another process: nothing under `include` imports it.
"""

from __future__ import annotations

import base64
import hashlib
import importlib.metadata
import json
import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from include.errors import FaultError
from local.database import session
from local.http import ask
from local.ports import require_free
from local.processes import Process, Processes, last_line
from local.settings_file import SettingsFile
from local.stack import Stack, keep_secret

USER = "admin"
SERVER = "airflow-api-server"
SCHEDULER = "airflow-scheduler"
DAG_PROCESSOR = "airflow-dag-processor"

# Starting Airflow takes four seconds: several of its commands share one process.
_COMMANDS = """
import json, sys
from airflow.cli.cli_parser import get_parser
parser = get_parser()
for argv in json.loads(sys.argv[1]):
    arguments = parser.parse_args(argv)
    arguments.func(arguments)
"""

# Every task is forked from one of these two; importing both clients there takes seconds off every task. A tested run
# makes its API again for each of the versions it knows; garbage collection alone takes two seconds of that.
_PRELOAD = """import gc
import sys

if "scheduler" in sys.argv or "dag-processor" in sys.argv:
    import kubernetes.client
    import kubernetes_asyncio.client
elif "test" in sys.argv:
    gc.set_threshold(100_000)
"""


@dataclass(frozen=True)
class Airflow:
    """One Airflow installation: its database, the settings file it imports, the environment of its caller."""

    stack: Stack
    database_url: str
    settings_file: SettingsFile
    caller: Mapping[str, str]
    processes: Processes

    @property
    def home(self) -> Path:
        """Its AIRFLOW_HOME."""
        return self.stack.state / "airflow"

    @property
    def url(self) -> str:
        """Where its UI and API are."""
        return self.stack.url(self.stack.airflow_port)

    @property
    def password(self) -> str:
        """The password of the user `admin`."""
        return keep_secret(self._secrets / "admin-password")

    @property
    def _secrets(self) -> Path:
        return self.stack.state / "secrets" / "airflow"

    def environment(self) -> dict[str, str]:
        """The environment of every Airflow process: the caller's, under what this stack decides."""
        settings = {
            "CORE__DAGS_FOLDER": str(self.stack.root / "dags"),
            "CORE__PLUGINS_FOLDER": str(self.stack.root / "plugins"),
            "CORE__LOAD_EXAMPLES": "False",
            "CORE__EXECUTOR": "LocalExecutor",
            "CORE__FERNET_KEY": keep_secret(self._secrets / "fernet-key", make=_fernet_key),
            "CORE__SIMPLE_AUTH_MANAGER_USERS": f"{USER}:admin",
            "CORE__SIMPLE_AUTH_MANAGER_PASSWORDS_FILE": str(self._secrets / "passwords.json"),
            "CORE__EXECUTION_API_SERVER_URL": f"{self.url}/execution/",
            "DATABASE__SQL_ALCHEMY_CONN": self.database_url,
            "API__HOST": self.stack.host,
            "API__PORT": str(self.stack.airflow_port),
            "API__BASE_URL": self.url,
            "API__WORKERS": "1",
            "API__SECRET_KEY": keep_secret(self._secrets / "api-secret-key"),
            "API_AUTH__JWT_SECRET": keep_secret(self._secrets / "jwt-secret"),
        }
        tunable = {
            "CORE__DAGS_ARE_PAUSED_AT_CREATION": "False",
            "CORE__PARALLELISM": "4",
            "WORKERS__MIN_HEARTBEAT_INTERVAL": "1",  # a failed task is noticed at the next heartbeat, 5 s by default
            "SCHEDULER__SCHEDULER_IDLE_SLEEP_TIME": "0.3",
            "DAG_PROCESSOR__REFRESH_INTERVAL": "30",
            "USAGE_DATA_COLLECTION__ENABLED": "False",
        }
        variables = self.settings_file.overrides(self.caller)
        replay = self.settings_file.settings(self.caller).replay
        return (
            {f"AIRFLOW__{name}": value for name, value in tunable.items()}
            | dict(self.caller)
            | {f"AIRFLOW__{name}": value for name, value in settings.items()}
            | {f"AIRFLOW_VAR_{name.upper()}": value for name, value in variables.items()}
            | {
                "AIRFLOW_HOME": str(self.home),
                "NIGHTSHIFT_USE_CASES": self.stack.use_cases,
                "NIGHTSHIFT_REPLAY": str(replay).lower(),  # DAG files ask no database for a variable
                "PYTHONPATH": self.stack.python_path,
                "PYTHONUNBUFFERED": "1",
            }
        )

    def prepare(self) -> subprocess.Popen[bytes] | None:
        """Begin to migrate the database and import the settings file; None if both were done before."""
        self._write_files()
        if self._stamp.exists() and self._stamp.read_text(encoding="utf-8") == self._prepared():
            return None
        commands = [["db", "migrate"]]
        folder = self.home / "imports"
        folder.mkdir(exist_ok=True)
        for name, document in self.settings_file.imports().items():
            path = folder / f"{name}.json"
            path.write_text(json.dumps(document, indent=1), encoding="utf-8")
            overwrite = ["--overwrite"] if name == "connections" else []
            commands.append([name, "import", *overwrite, str(path)])
        self.stack.logs.mkdir(parents=True, exist_ok=True)
        with self._prepare_log.open("wb") as log:
            return subprocess.Popen(
                [sys.executable, "-c", _COMMANDS, json.dumps(commands)],
                env=self.environment() | {"AIRFLOW__LOGGING__LOGGING_LEVEL": "WARNING"},
                cwd=self.stack.root,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                close_fds=False,  # it holds the stack's lock
            )

    def finish_preparing(self, child: subprocess.Popen[bytes] | None) -> None:
        """Wait for what `prepare` began; `FaultError` with its last line if it failed."""
        if child is None:
            return
        if child.wait():
            raise FaultError(
                f"Airflow could not be set up: {last_line(self._prepare_log)} (log: {self._prepare_log}); "
                "then run it again"
            )
        self._stamp.write_text(self._prepared(), encoding="utf-8")

    @property
    def _stamp(self) -> Path:
        return self.home / "prepared"

    @property
    def _prepare_log(self) -> Path:
        return self.stack.logs / "airflow-prepare.log"

    def _prepared(self) -> str:
        """The state of a complete installation: version, schema of the database, imports."""
        imports = json.dumps(self.settings_file.imports(), sort_keys=True)
        digest = hashlib.sha256(imports.encode()).hexdigest()
        return f"{importlib.metadata.version('apache-airflow')} {self._schema()} {digest}\n"

    def _schema(self) -> str:
        with session(self.database_url) as connection:
            found = connection.execute("SELECT to_regclass('alembic_version') IS NOT NULL").fetchone()
            if not (found and found[0]):
                return "empty"
            return ",".join(
                sorted(str(row[0]) for row in connection.execute("SELECT version_num FROM alembic_version"))
            )

    def _write_files(self) -> None:
        config = self.home / "config"
        config.mkdir(parents=True, exist_ok=True)
        (config / "airflow_local_settings.py").write_text(_PRELOAD, encoding="utf-8")
        keep_secret(self._secrets / "passwords.json", json.dumps({USER: self.password}))

    # Processes

    def require_port(self) -> None:
        """Refuse when something else listens where the server is to."""
        if not self.processes.running(SERVER):
            port = self.stack.airflow_port
            require_free(self.stack.host, port, service="Airflow", variable="NIGHTSHIFT_AIRFLOW_PORT")

    def start_server(self) -> Process:
        """Start the API server, which also serves the UI; it is not yet ready when this returns."""
        self.require_port()
        return self._start(SERVER, ["api-server", "--host", self.stack.host, "--port", str(self.stack.airflow_port)])

    def start_scheduler(self) -> list[Process]:
        """Start scheduler and DAG processor; only once the server is healthy, or queued tasks fail at once."""
        # Its log server would listen on every address; the UI reads the logs from the disk.
        scheduler = self._start(SCHEDULER, ["scheduler", "--skip-serve-logs"])
        return [scheduler, self._start(DAG_PROCESSOR, ["dag-processor"])]

    def _start(self, name: str, argv: Sequence[str]) -> Process:
        return self.processes.start(
            name,
            [sys.executable, "-m", "airflow", *argv],
            environment=self.environment(),
            folder=self.stack.root,
            log=self.stack.logs / f"{name}.log",
        )

    # REST

    def healthy(self, *parts: str) -> bool:
        """Whether the server answers, and says that these parts (`scheduler`, `dag_processor`) are healthy."""
        try:
            health = ask(f"{self.url}/api/v2/monitor/health", seconds=5)
        except FaultError:
            return False
        return all(health.get(part, {}).get("status") == "healthy" for part in ("metadatabase", *parts))

    def call(self, method: str, path: str, body: Any = None) -> Any:
        """One call of the REST API below /api/v2, as the user `admin`."""
        login = {"username": USER, "password": self.password}
        token = ask(f"{self.url}/auth/token", method="POST", body=login)["access_token"]
        return ask(f"{self.url}/api/v2{path}", method=method, body=body, token=token)


def _fernet_key() -> str:
    return base64.urlsafe_b64encode(os.urandom(32)).decode()
