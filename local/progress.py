"""A run as it is watched: a live table on a terminal, plain lines anywhere else."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Sequence
from datetime import UTC, datetime

from rich.console import Console, Group
from rich.live import Live
from rich.table import Table
from rich.text import Text

from local.journal import TaskRecord
from local.night import StartedRun

POLL_SECONDS = 0.5
SHOWN_LINES = 4
SILENCE_SECONDS = 15
MARKS = {"success": "✔", "failed": "✘", "skipped": "○", "upstream_failed": "·", "running": "▶", "up_for_retry": "↻"}


def follow(night: StartedRun, console: Console) -> list[TaskRecord]:
    """Show a run until it ends; its tasks as they ended. An interruption cancels the run."""
    try:
        return _watch(night, console) if console.is_terminal else _print(night, console)
    except BaseException:
        night.cancel()
        raise


def _watch(night: StartedRun, console: Console) -> list[TaskRecord]:
    recent: deque[str] = deque(maxlen=SHOWN_LINES)
    tasks: list[TaskRecord] = []
    with Live(console=console, refresh_per_second=4, transient=False) as live:
        while True:
            over = night.ended()
            recent.extend(night.lines())
            tasks = night.tasks()
            shown = [] if over else list(recent)
            live.update(Group(table(tasks, night.started), *(Text(f"  {line}", "dim", no_wrap=True) for line in shown)))
            if over:
                return tasks
            time.sleep(POLL_SECONDS)


def _print(night: StartedRun, console: Console) -> list[TaskRecord]:
    states: dict[str, tuple[str, int]] = {}
    tell = Teller(console)
    tell(f"{_since(night.started)} Airflow is starting")
    while True:
        over = night.ended()
        said, tasks = night.lines(), night.tasks()
        changed = [task for task in tasks if task.state in MARKS and states.get(task.name) != (task.state, task.tries)]
        states |= {task.name: (task.state, task.tries) for task in changed}
        # Lines since the last look belong to the step that ran then, before a new one began.
        for task in changed:
            if task.state == "running":
                continue
            tell(*(f"        {line}" for line in said))
            said = []
            tell(f"{_since(night.started)} {line_of(task)}")
        tell(*(f"{_since(night.started)} {line_of(task)}" for task in changed if task.state == "running"))
        tell(*(f"        {line}" for line in said))
        if over:
            return tasks
        if tell.silent_for > SILENCE_SECONDS:
            waiting = [line_of(task) for task in tasks if task.state and not task.ended] or ["Airflow is starting"]
            tell(f"{_since(night.started)} … {', '.join(waiting)}")
        time.sleep(POLL_SECONDS)


class Teller:
    """Lines on a console, and how long it has been silent."""

    def __init__(self, console: Console) -> None:
        self.console = console
        self._last = time.monotonic()

    def __call__(self, *lines: str) -> None:
        for line in lines:
            self.console.print(line, highlight=False, markup=False, soft_wrap=True)
            self._last = time.monotonic()

    @property
    def silent_for(self) -> float:
        """Seconds since the last line."""
        return time.monotonic() - self._last


def table(tasks: Sequence[TaskRecord], started: datetime | None = None) -> Table:
    """Each step's state, time, rows and peak memory."""
    grid = Table(box=None, padding=(0, 2, 0, 0), header_style="bold")
    for title in ("", "step"):
        grid.add_column(title, no_wrap=True)
    for title in ("time", "rows", "peak memory"):
        grid.add_column(title, justify="right", no_wrap=True)
    for task in tasks:
        grid.add_row(MARKS.get(task.state, ""), task.name, _time(task), _rows(task), _peak(task), style=_style(task))
    if started is not None:
        grid.add_row("", "in all" if tasks else "Airflow is starting", _since(started), "", "", style="dim")
    return grid


def line_of(task: TaskRecord) -> str:
    """One task's state as a line."""
    facts = [_time(task), f"{_rows(task)} rows" if _rows(task) else "", _peak(task)]
    told = ", ".join(fact for fact in facts if fact) if task.state != "running" else ""
    state = task.state.replace("_", " ")
    again = f" (try {task.tries})" if task.tries > 1 else ""
    return f"{MARKS.get(task.state, '')} {task.name}: {state}{again}".strip() + (f", {told}" if told else "")


def _time(task: TaskRecord) -> str:
    if task.ended and task.seconds is not None:
        return f"{task.seconds:.1f} s"
    if task.state == "running" and task.started:
        return f"{max((datetime.now(UTC) - task.started).total_seconds(), 0):.0f} s …"
    return ""


def _rows(task: TaskRecord) -> str:
    return "" if task.rows is None or not task.ended else f"{task.rows:,}"


def _peak(task: TaskRecord) -> str:
    return f"{task.peak_mib:,.0f} MiB" if task.peak_mib and task.ended else ""


def _style(task: TaskRecord) -> str:
    return {"failed": "red", "running": "bold", "success": "green"}.get(task.state, "dim")


def _since(started: datetime) -> str:
    seconds = int((datetime.now(UTC) - started).total_seconds())
    return f"{seconds // 60}:{seconds % 60:02d}"
