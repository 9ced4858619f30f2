"""Everything the embedded stack consists of, started and stopped in the right order."""

from __future__ import annotations

import fcntl
import os
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from include.database import migrate
from include.deployment.imported import import_served
from include.settings import PREFIX, SECRETS, Settings, is_secret, refuse_unknown_variables
from local.airflow import DAG_PROCESSOR, SCHEDULER, Airflow
from local.airflow import SERVER as AIRFLOW_SERVER
from local.mlflow import Mlflow
from local.postgres import Postgres
from local.processes import Process, Processes
from local.programs import Programs
from local.serving import SERVER as SERVING_SERVER
from local.serving import Serving
from local.settings_file import read_settings_file
from local.stack import Stack, keep_private, keep_secret

# In the order they are stopped: first what starts work, last what stores it.
STOP_ORDER = (SCHEDULER, DAG_PROCESSOR, AIRFLOW_SERVER, "mlflow", SERVING_SERVER, "postgres")


@dataclass(frozen=True)
class Services:
    """The parts of one stack, and the settings its steps see."""

    stack: Stack
    settings: Settings
    processes: Processes
    postgres: Postgres
    airflow: Airflow
    mlflow: Mlflow
    serving: Serving

    @property
    def serves_here(self) -> bool:
        """Whether the serving API that the settings name is the one this stack starts."""
        return self.settings.serving_url.rstrip("/") == self.stack.url(self.stack.serving_port)

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Let one command at a time start and stop things."""
        with locked(self.stack.state):
            yield

    def require_ports(self, *, interfaces: bool = False) -> None:
        """Refuse, before anything is started, when something else holds a port that is about to be used.

        Processes left behind by a killed service hold its port too, and are ended first.
        """
        for name, left in self.processes.left_behind().items():
            print(f"  {name} was killed: ending what it left behind ({', '.join(map(str, left))})", flush=True)
            self.processes.stop(name)
        if self.stack.embeds_postgres:
            self.postgres.require_port()
        if self.serves_here:
            self.serving.require_port()
        if interfaces:
            self.airflow.require_port()
            self.mlflow.require_port()

    def start_databases(self) -> None:
        """Start PostgreSQL if it is ours, and bring the three databases up to date, side by side."""
        if self.stack.embeds_postgres:
            with told("PostgreSQL"):
                self.postgres.start()
        airflow, mlflow = self.airflow.prepare(), self.mlflow.prepare()
        database_url = (self.stack.secrets / "database-url").read_text(encoding="utf-8")
        if migrate.current(database_url) != migrate.head():
            with told("tables"):
                migrate.upgrade(database_url)
        if mlflow:
            with told("MLflow's database"):
                self.mlflow.finish_preparing(mlflow)
        if airflow:
            with told("Airflow's database, airflow_settings.yaml"):
                self.airflow.finish_preparing(airflow)

    def start_serving(self) -> None:
        """Start the serving API, if the settings do not name another one."""
        if self.serves_here:
            import_served(self.settings, self.stack.state / SERVING_SERVER)
            with told(f"serving on {self.serving.url}"):
                self.processes.wait_until(self.serving.start(), self.serving.healthy, seconds=60)

    def start_interfaces(self) -> None:
        """Start Airflow (server before scheduler, or queued tasks fail) and the MLflow UI."""
        server = self.airflow.start_server()
        mlflow = self.mlflow.start() if self.mlflow.is_ours else None
        with told(f"Airflow's server on {self.airflow.url}"):
            self.processes.wait_until(server, self.airflow.healthy, seconds=180)
        with told("Airflow's scheduler and DAG processor"):
            scheduler, processor = self.airflow.start_scheduler()
            self.processes.wait_until(scheduler, lambda: self.airflow.healthy("scheduler"), seconds=180)
            self.processes.wait_until(processor, lambda: self.airflow.healthy("dag_processor"), seconds=180)
        if mlflow is None:
            return
        with told(f"MLflow on {self.mlflow.url}"):
            self.processes.wait_until(mlflow, self.mlflow.healthy, seconds=180)

    def step_environment(self) -> dict[str, str]:
        """The environment of a step that is run by hand: the caller's, with the stack's settings and secrets."""
        plain = {
            f"{PREFIX}{name.upper()}": str(value)
            for name, value in self.settings.model_dump(mode="json", exclude_none=True).items()
            if not is_secret(name)
        }
        hidden = {
            variable: (self.stack.secrets / name).read_text(encoding="utf-8")
            for variable, name in SECRETS.items()
            if (self.stack.secrets / name).exists()
        }
        rest = {name: value for name, value in os.environ.items() if not name.startswith(PREFIX)}
        return rest | plain | hidden | {"PYTHONPATH": self.stack.python_path, "PYTHONUNBUFFERED": "1"}


@contextmanager
def locked(state: Path) -> Iterator[None]:
    """Let one command at a time start and stop things.

    A child that is to be waited for (`close_fds=False`) holds the lock too: when the command is killed, the next one
    waits until what it had begun is over.
    """
    keep_private(state)
    with (state / "stack.lock").open("w", encoding="utf-8") as handle:
        fcntl.flock(handle, fcntl.LOCK_EX)
        os.set_inheritable(handle.fileno(), True)
        yield


def stop_all(state: Path) -> list[Process]:
    """Stop every process of the stack with that state, and nothing else; what was stopped, in order.

    It needs no settings: running processes are noted in files.
    """
    processes = Processes(state / "processes")
    stopped = [process for name in STOP_ORDER if (process := processes.stop(name))]
    Programs(state / "postgres-programs").remove_copy()
    return stopped


def open_services(stack: Stack, environment: Mapping[str, str] | None = None) -> Services:
    """The services of a stack, with `airflow_settings.yaml` read and the secrets' files written."""
    settings_file = read_settings_file(stack.root / "airflow_settings.yaml")
    refuse_unknown_variables(os.environ if environment is None else environment)
    environment = settings_file.reached_at(stack, os.environ if environment is None else environment)
    keep_private(stack.state)
    settings = settings_file.settings(environment)
    remembered = {name: value for name, value in environment.items() if name.startswith(PREFIX) and value}
    processes = Processes(stack.state / "processes", remembered)
    postgres = Postgres(
        data=stack.state / "postgres",
        port=stack.postgres_port,
        password_file=stack.state / "secrets" / "postgres-password",
        log=stack.logs / "postgres.log",
        processes=processes,
    )
    database_url = stack.database_url.get_secret_value() if stack.database_url else postgres.url("nightshift")
    tracking_url = stack.tracking_url.get_secret_value() if stack.tracking_url else postgres.url("mlflow", "psycopg")
    airflow_url = (
        stack.airflow_database_url.get_secret_value()
        if stack.airflow_database_url
        else postgres.url("airflow", "psycopg2")
    )
    for name, key in SECRETS.items():
        if value := environment.get(name):
            keep_secret(stack.secrets / key, value)
    keep_secret(stack.secrets / "database-url", database_url)
    keep_secret(stack.secrets / "tracking-url", tracking_url)
    if stack.serving_token:
        keep_secret(stack.secrets / "serving-token", stack.serving_token.get_secret_value())
    return Services(
        stack=stack,
        settings=settings,
        processes=processes,
        postgres=postgres,
        airflow=Airflow(stack, airflow_url, settings_file, environment, processes),
        mlflow=Mlflow(stack, tracking_url, settings.artifacts, settings.s3_endpoint, processes),
        serving=Serving(
            stack, settings.serving_url, settings.s3_endpoint, settings.lake, settings.releases_folder, processes
        ),
    )


@contextmanager
def told(what: str) -> Iterator[None]:
    """Print what the command waits for, and how long it took."""
    print(f"  {what} … ", end="", flush=True)
    clock = time.monotonic()
    try:
        yield
    except BaseException:
        print("failed", flush=True)
        raise
    print(f"{time.monotonic() - clock:.1f} s", flush=True)
