"""Airflow's record of a run: its tasks, their states, and each step's report from the lake."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from include.report import report_name
from include.storage.lake import Lake
from local.database import session

RUN_SINCE = """
SELECT run_id FROM dag_run WHERE dag_id = %s AND logical_date = %s AND run_after >= %s ORDER BY run_after DESC LIMIT 1
"""
RUN_STATE = "SELECT state FROM dag_run WHERE dag_id = %s AND run_id = %s"
TASKS = """
SELECT task_id, map_index, coalesce(state, ''), start_date, end_date, try_number
FROM task_instance WHERE dag_id = %s AND run_id = %s
"""
CLOSE = """
WITH run AS (
    UPDATE dag_run SET state = 'failed', end_date = now()
    WHERE dag_id = %s AND logical_date = %s AND state IN ('queued', 'running') RETURNING dag_id, run_id
)
UPDATE task_instance AS task SET state = 'failed', end_date = now()
FROM run WHERE task.dag_id = run.dag_id AND task.run_id = run.run_id
AND task.state IN ('running', 'queued', 'scheduled', 'up_for_retry', 'restarting', 'deferred')
"""
ENDED = ("success", "failed", "skipped", "upstream_failed", "removed")


@dataclass(frozen=True)
class TaskRecord:
    """One task of a run: Airflow's state, and the step's own report (empty until it starts)."""

    step: str
    candidate: str
    state: str
    started: datetime | None
    finished: datetime | None
    tries: int
    report: Mapping[str, Any] = field(default_factory=dict)

    @property
    def name(self) -> str:
        """The step, and the candidate it trains."""
        return f"{self.step} {self.candidate}".strip()

    @property
    def ended(self) -> bool:
        """Whether nothing more will happen to it."""
        return self.state in ENDED

    @property
    def seconds(self) -> float | None:
        """The step's own time; None until it has ended."""
        return self.report.get("seconds")

    @property
    def rows(self) -> int | None:
        """Rows over all datasets that the step published or read, as it reports them."""
        rows = self.report.get("result", {}).get("rows", {})
        return sum(rows.values()) if rows else None

    @property
    def peak_mib(self) -> float | None:
        """Peak memory in MiB."""
        return self.report.get("peak_rss_mib")


@dataclass
class Journal:
    """The reader of one DAG's runs; `order` and `candidates` are the DAG's, so that tasks come in its order."""

    database_url: str
    dag_id: str
    order: tuple[str, ...]
    candidates: tuple[str, ...]
    lake: Lake

    def __post_init__(self) -> None:
        self._done: dict[tuple[str, str, str, int], Mapping[str, Any]] = {}

    def run_since(self, logical_date: datetime, since: datetime) -> str | None:
        """The run for a logical date that was made since a moment."""
        rows = self._ask(RUN_SINCE, (self.dag_id, logical_date, since))
        return str(rows[0][0]) if rows else None

    def state(self, run_id: str) -> str:
        """Airflow's state of a run: `queued`, `running`, `success` or `failed`."""
        rows = self._ask(RUN_STATE, (self.dag_id, run_id))
        return str(rows[0][0]) if rows else "unknown"

    def tasks(self, run_id: str) -> list[TaskRecord]:
        """The tasks of a run, in the DAG's order."""
        rows = self._ask(TASKS, (self.dag_id, run_id))
        tasks = [self._task(run_id, row) for row in rows]
        return sorted(tasks, key=lambda task: (self._rank(task.step), self._candidate_rank(task.candidate)))

    def close(self, logical_date: datetime, dag_id: str = "") -> None:
        """Mark an abandoned run, of this DAG or another, as failed; otherwise a scheduler would continue it."""
        with session(self.database_url) as connection:
            connection.execute(CLOSE, (dag_id or self.dag_id, logical_date))

    def _task(self, run_id: str, row: tuple[Any, ...]) -> TaskRecord:
        step, index, state, start, end, tries = row
        candidate = self.candidates[index] if 0 <= index < len(self.candidates) else ""
        key = (run_id, step, candidate, tries)
        report = self._done.get(key) or (self._report(run_id, step, candidate) if start else {})
        if state in ENDED:
            self._done[key] = report
        return TaskRecord(step, candidate, state, start, end, tries, report)

    def _report(self, run_id: str, step: str, candidate: str) -> Mapping[str, Any]:
        task = f"{step}-{candidate}" if candidate else step
        try:
            return dict(json.loads(self.lake.get(report_name(f"{self.dag_id}/{run_id}/{task}"))))
        except (FileNotFoundError, ValueError):
            return {}

    def _rank(self, step: str) -> int:
        return self.order.index(step) if step in self.order else len(self.order)

    def _candidate_rank(self, candidate: str) -> int:
        return self.candidates.index(candidate) if candidate in self.candidates else 0

    def _ask(self, query: str, values: Iterable[Any]) -> list[tuple[Any, ...]]:
        with session(self.database_url) as connection:
            return connection.execute(query.encode(), tuple(values)).fetchall()


def busy_seconds(tasks: Iterable[TaskRecord]) -> float:
    """How long at least one step was at work: the union of the steps' own intervals."""
    intervals = sorted(
        (datetime.fromisoformat(task.report["started"]), datetime.fromisoformat(task.report["finished"]))
        for task in tasks
        if "finished" in task.report
    )
    total, end = 0.0, None
    for start, finish in intervals:
        begin = start if end is None else max(start, end)
        total += max((finish - begin).total_seconds(), 0.0)
        end = finish if end is None else max(end, finish)
    return total
