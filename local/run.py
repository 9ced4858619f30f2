"""`make run`: one night, from nothing to a served answer."""

from __future__ import annotations

import fcntl
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime

from rich.console import Console

from include.deployment.serving_api import ServingApi
from include.errors import ExitCode
from include.packages import first_package
from include.step_specs import NIGHTLY
from include.storage.lake import Dataset, Lake, Layer
from include.use_case import UseCaseSpec, load_use_case
from local import requirements
from local.days import data_day, first_full_day
from local.journal import Journal, TaskRecord
from local.night import StartedRun, StepLog, TestedNight, begin
from local.progress import follow
from local.services import Services
from local.summary import Summary, airflow_share


def run(services: Services, date: str, use_case: str = "", *, force: bool = False) -> int:
    """Run the nightly DAG of a use case for a data day (empty: the first full one), show it, and sum it up."""
    package = use_case or first_package(services.stack.use_cases)
    requirements.install(services.stack.use_cases)
    spec = load_use_case(package).spec
    wanted = date or first_full_day(spec).isoformat()
    day = data_day(wanted, spec, replay=services.settings.replay, now=datetime.now(UTC))
    console = Console(highlight=False)
    lake = Lake.open(services.settings, spec.name)
    if not has_night(lake, spec) and (code := refused(package, console)) is not ExitCode.DONE:
        return code
    with services.locked():
        services.require_ports()
        services.start_databases()
        services.start_serving()
    journal = Journal(
        services.airflow.database_url,
        f"{spec.name}_nightly_training",
        tuple(step.name for step in NIGHTLY),
        spec.candidates,
        lake,
    )
    console.print(f"\n[bold]{journal.dag_id}[/], data day {day}")
    with alone(services, console):
        night = begin(services.airflow, journal, spec, day, force=force)
        tasks = follow(night, console)
        wall = (datetime.now(UTC) - night.started).total_seconds()
    if not night.succeeded():
        _lament(console, night, tasks, wall)
        return 1
    Summary(lake, spec, day, ServingApi.open(services.settings, spec.name)).print(console, tasks, wall)
    return ExitCode.DONE


def has_night(lake: Lake, spec: UseCaseSpec) -> bool:
    """Whether a night of the use case has succeeded: its package is then not checked before each run."""
    return any(lake.days(Dataset(Layer.PREDICTIONS, horizon.name)) for horizon in spec.horizons)


def refused(package: str, console: Console) -> ExitCode:
    """Print the mistakes of a package that would stop a night, if there are any."""
    from include.check.command import static_verdict  # only now: most runs are not the first

    verdict = static_verdict(package)
    if verdict.exit_code is not ExitCode.DONE:
        console.print("\n".join(verdict.lines()), markup=False, soft_wrap=True)
    return verdict.exit_code


@contextmanager
def alone(services: Services, console: Console) -> Iterator[None]:
    """One `make run` at a time: a second one waits, then finds the first one's work done."""
    with (services.stack.state / "run.lock").open("w", encoding="utf-8") as handle:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            console.print("another `make run` is under way; waiting for it to end")
            fcntl.flock(handle, fcntl.LOCK_EX)
        yield


def _lament(console: Console, night: StartedRun, tasks: list[TaskRecord], wall: float) -> None:
    """Which step failed, its own one line, and where its log is."""
    failed = [task for task in tasks if task.state == "failed"]
    for task in failed:
        why = task.report.get("error") or next(reversed(StepLog(night.log).lines()), "it left no word")
        console.print(f"\n[red]✘ {task.name} failed:[/] ", end="")
        console.print(why, markup=False, soft_wrap=True)
    if not failed:
        console.print("\n[red]✘ the run failed before any step did[/]")
        if isinstance(night, TestedNight):
            console.print(night.last_words(), markup=False, soft_wrap=True)
    console.print(f"  {airflow_share(tasks, wall)}")
    console.print(f"  log: {night.log}", soft_wrap=True)
