"""`make backfill FROM= TO=`: a run of the nightly DAG for each of a range of data days."""

from __future__ import annotations

import time
from datetime import UTC, date, datetime
from datetime import time as clock
from typing import Any

from include.errors import ExitCode, FaultError, SettingsError
from include.packages import first_package
from include.storage.lake import days_between
from include.use_case import UseCaseSpec, load_use_case
from local.airflow import SCHEDULER, Airflow
from local.days import data_day
from local.services import Services

AT_ONCE = 2
"""Runs that Airflow works on side by side, as many as the DAG allows."""
PARSED_WITHIN_SECONDS = 60.0


def backfill(services: Services, first: str, last: str, *, force: bool) -> int:
    """Ask the running Airflow for the runs of the data days from `first` to `last`, both included.

    A day whose run has succeeded stays as it is, unless `force` asks for it again. Raises `SettingsError` for a wrong
    range, or when no scheduler runs that could work it off.
    """
    spec = load_use_case(first_package(services.stack.use_cases)).spec
    replay = services.settings.replay
    days = _range(spec, first, last, replay=replay)
    airflow, dag_id = services.airflow, f"{spec.name}_nightly_training"
    if not services.processes.running(SCHEDULER):
        raise SettingsError("a backfill is worked off by the running Airflow: start it with `make up` first")
    if _once_known(airflow, dag_id)["is_paused"]:
        raise SettingsError(f"{dag_id} is paused: switch it on in {airflow.url}, then ask again")
    if any(run["completed_at"] is None for run in airflow.call("GET", f"/backfills?dag_id={dag_id}")["backfills"]):
        raise SettingsError(f"a backfill of {dag_id} is under way: let it end or cancel it in {airflow.url}")
    _start(airflow, dag_id, spec, days, force=force)
    return ExitCode.DONE


def _once_known(airflow: Airflow, dag_id: str) -> Any:
    """The DAG as Airflow knows it; just after a start it has not read the file yet."""
    deadline = time.monotonic() + PARSED_WITHIN_SECONDS
    while True:
        try:
            return airflow.call("GET", f"/dags/{dag_id}")
        except FaultError:
            if time.monotonic() > deadline:
                raise
            time.sleep(1)


def _range(spec: UseCaseSpec, first: str, last: str, *, replay: bool) -> list[date]:
    now = datetime.now(UTC)
    begin = data_day(first, spec, replay=replay, now=now, variable="FROM")
    end = data_day(last, spec, replay=replay, now=now, variable="TO")
    if begin > end:
        raise SettingsError(f"FROM={begin} is after TO={end}: name the first day, then the last one")
    return days_between(begin, end)


def _start(airflow: Airflow, dag_id: str, spec: UseCaseSpec, days: list[date], *, force: bool) -> None:
    request = {
        "dag_id": dag_id,
        "from_date": datetime.combine(days[0], clock.min, spec.zone).isoformat(),
        "to_date": datetime.combine(days[-1], clock.min, spec.zone).isoformat(),
        "max_active_runs": AT_ONCE,
        "reprocess_behavior": "completed" if force else "failed",
        "dag_run_conf": {"force": True} if force else {},
    }
    planned = airflow.call("POST", "/backfills/dry_run", request)["backfills"]
    made = {datetime.fromisoformat(run["logical_date"]).astimezone(spec.zone).date() for run in planned}
    kept = [day for day in days if day not in made]
    for day in sorted(made):
        print(f"run      {dag_id} {day}")
    if kept:
        print(f"kept     {', '.join(map(str, kept))}: their runs exist; FORCE=1 runs them again")
    if made:
        airflow.call("POST", "/backfills", request)
        print(f"{len(made)} runs, {AT_ONCE} at a time; watch them in {airflow.url}/dags/{dag_id}/runs")
