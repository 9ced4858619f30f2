"""What Airflow itself must know of this project: its timetables, by the names that DAG files import them under."""

from __future__ import annotations

from airflow.plugins_manager import AirflowPlugin

from plugins.data_days import DataDays
from plugins.worker_timetable import WorkerTimetable


class NightshiftPlugin(AirflowPlugin):  # type: ignore[misc]
    """The project's extensions of Airflow."""

    name = "nightshift"
    timetables = (DataDays, WorkerTimetable)
