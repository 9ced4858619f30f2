"""Everything the embedded stack consists of, started and stopped in the right order."""

from __future__ import annotations

import fcntl
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from include.database import migrate
from include.local.airflow import DAG_PROCESSOR, SCHEDULER, Airflow
from include.local.airflow import SERVER as AIRFLOW_SERVER
from include.local.mlflow import Mlflow
from include.local.postgres import Postgres
from include.local.processes import Process, Processes
from include.local.serving import SERVER as SERVING_SERVER
from include.local.serving import Serving
from include.local.settings_file import read_settings_file
from include.local.stack import Stack, keep_private, keep_secret
from include.settings import PREFIX, Settings, refuse_unknown_variables
from include.step_specs import SECRETS

# In the order they are stopped: first what gives work, last what keeps it.
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
        with (self.stack.state / "stack.lock").open("w") as handle:
            fcntl.flock(handle, fcntl.LOCK_EX)
            yield

    def require_ports(self, *, interfaces: bool = False) -> None:
        """Refuse, before anything is started, when something else holds a port that is about to be used."""
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
        database_url = (self.stack.secrets / "database-url").read_text()
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
            with told(f"serving on {self.serving.url}"):
                self.processes.wait_until(self.serving.start(), self.serving.healthy, seconds=60)

    def start_interfaces(self) -> None:
        """Start Airflow (server before scheduler, or queued tasks fail) and the MLflow UI."""
        server, mlflow = self.airflow.start_server(), self.mlflow.start()
        with told(f"Airflow's server on {self.airflow.url}"):
            self.processes.wait_until(server, self.airflow.healthy, seconds=180)
        with told("Airflow's scheduler and DAG processor"):
            scheduler, processor = self.airflow.start_scheduler()
            self.processes.wait_until(scheduler, lambda: self.airflow.healthy("scheduler"), seconds=180)
            self.processes.wait_until(processor, lambda: self.airflow.healthy("dag_processor"), seconds=180)
        with told(f"MLflow on {self.mlflow.url}"):
            self.processes.wait_until(mlflow, self.mlflow.healthy, seconds=180)

    def stop(self) -> list[Process]:
        """Stop every process that this stack started, and nothing else; what was stopped, in order."""
        stopped = [process for name in STOP_ORDER if (process := self.processes.stop(name))]
        self.postgres.remove_copies()
        return stopped

    def step_environment(self) -> dict[str, str]:
        """The environment of a step that is run by hand: the caller's, with the stack's settings and secrets."""
        plain = {
            f"{PREFIX}{name.upper()}": value
            for name, value in self.settings.model_dump(mode="json", exclude_none=True).items()
            if name in ("lake", "s3_endpoint", "artifacts", "serving_url", "spark_master", "spark_packages", "replay")
        }
        hidden = {
            f"{PREFIX}{name.replace('-', '_').upper()}": (self.stack.secrets / name).read_text()
            for name in ("database-url", "tracking-url", "serving-token")
        }
        rest = {name: value for name, value in os.environ.items() if not name.startswith(PREFIX)}
        plain = {name: str(value) for name, value in plain.items()}
        return rest | plain | hidden | {"PYTHONPATH": str(self.stack.root), "PYTHONUNBUFFERED": "1"}


def open_services(stack: Stack) -> Services:
    """The services of a stack, with `airflow_settings.yaml` read and the secrets' files written."""
    settings_file = read_settings_file(stack.root / "airflow_settings.yaml")
    environment = dict(os.environ)
    refuse_unknown_variables(environment)
    keep_private(stack.state)
    if stack.serving_port != Stack.model_fields["serving_port"].default:
        environment.setdefault(f"{PREFIX}SERVING_URL", stack.url(stack.serving_port))
    settings = settings_file.settings(environment)
    processes = Processes(stack.state / "processes")
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
    token = keep_secret(
        stack.secrets / "serving-token", stack.serving_token.get_secret_value() if stack.serving_token else None
    )
    return Services(
        stack=stack,
        settings=settings,
        processes=processes,
        postgres=postgres,
        airflow=Airflow(stack, airflow_url, settings_file, environment, processes),
        mlflow=Mlflow(stack, tracking_url, settings.artifacts, settings.s3_endpoint, processes),
        serving=Serving(stack, token, settings.serving_url, settings.s3_endpoint, settings.lake, processes),
    )


@contextmanager
def told(what: str) -> Iterator[None]:
    """Say what is being waited for, and how long it took."""
    print(f"  {what} … ", end="", flush=True)
    clock = time.monotonic()
    try:
        yield
    except BaseException:
        print("failed", flush=True)
        raise
    print(f"{time.monotonic() - clock:.1f} s", flush=True)
