"""What runs, what is served and since when, and how the last nights went."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from zoneinfo import ZoneInfo

from include.errors import ExitCode, FaultError
from include.masking import masked
from include.settings import PREFIX, is_secret
from local.database import session
from local.nights import specs
from local.processes import Process
from local.services import STOP_ORDER, Services

LAST_RUNS = """
SELECT dag_id, conf ->> 'date', data_interval_start, state, start_date, end_date, run_type
FROM dag_run WHERE dag_id LIKE '%_nightly_training' ORDER BY start_date DESC NULLS FIRST LIMIT 5
"""


def status(services: Services) -> int:
    """Print what runs and what is served, both with the time since when, and the last nightly runs."""
    left = services.processes.left_behind()
    for name in reversed(STOP_ORDER):
        process = services.processes.running(name)
        state = f"running since {local(process.since)} (process {process.pid})" if process else "not running"
        if name in left:
            state = f"killed; left behind: {', '.join(map(str, left[name]))} (`make up` and `make down` end them)"
        print(f"{name:<22} {state}")
    if settings := started_with(services.processes.all()):
        print(f"started with {', '.join(settings)}")
    print(f"\nserved   {_served(services)}")
    for line in _last_runs(services):
        print(f"run      {line}")
    return ExitCode.DONE


def started_with(running: Iterable[Process]) -> list[str]:
    """The settings that the stack was started with, without secrets: commands in every shell follow them."""
    settings = {name: value for process in running for name, value in (process.settings or {}).items()}
    return [
        masked(f"{name}={value}")
        for name, value in sorted(settings.items())
        if not is_secret(name.removeprefix(PREFIX).lower())
    ]


def local(instant: datetime) -> str:
    """An instant as this machine's clock shows it, to the second."""
    return f"{instant.astimezone():%Y-%m-%d %H:%M:%S}"


def _served(services: Services) -> str:
    if not services.serving.healthy():
        return f"nothing: no answer from {services.serving.url}"
    models = services.serving.models()
    if not models:
        return f"nothing yet ({services.serving.url})"
    told = [
        f"{model['use_case']} version {model['version']} since {local(datetime.fromisoformat(str(model['since'])))}"
        for model in models
    ]
    return f"{', '.join(told)} ({services.serving.url})"


def _last_runs(services: Services) -> list[str]:
    try:
        with session(services.airflow.database_url) as connection:
            rows = connection.execute(LAST_RUNS).fetchall()
    except FaultError:
        return []
    zones = {f"{spec.name}_nightly_training": spec.zone for spec in specs(services.stack.use_cases)}
    return [
        f"{dag} {asked or _day(begin, zones.get(dag))}: {state}, {kind}, {local(start) if start else 'not started'}"
        + (f", {(end - start).total_seconds():.0f} s" if start and end else "")
        for dag, asked, begin, state, start, end, kind in rows
    ]


def _day(interval_start: datetime | None, zone: ZoneInfo | None) -> str:
    """The data day of an interval: the day on which it begins on the use case's own calendar."""
    return interval_start.astimezone(zone).date().isoformat() if interval_start and zone else "?"
