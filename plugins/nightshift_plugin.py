"""What Airflow itself must know of this project: its timetables, by the names that DAG files import them under, and
the pages it serves beside its own."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

from airflow.plugins_manager import AirflowPlugin

from include.links import DATA_DOCS
from plugins.data_days import DataDays
from plugins.worker_timetable import WorkerTimetable


async def data_docs(
    scope: dict[str, Any], receive: Callable[[], Awaitable[Any]], send: Callable[[Any], Awaitable[None]]
) -> None:
    """The Data Docs application, imported when the first page is asked for: only the API server ever does."""
    from plugins.data_docs import app

    await app(scope, receive, send)


class NightshiftPlugin(AirflowPlugin):  # type: ignore[misc]
    """The project's extensions of Airflow."""

    name = "nightshift"
    timetables = (DataDays, WorkerTimetable)
    fastapi_apps = ({"app": data_docs, "url_prefix": DATA_DOCS, "name": "Data Docs"},)
