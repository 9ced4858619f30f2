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

from include.local.journal import Task
from include.local.night import Night

POLL_SECONDS = 0.5
SHOWN_LINES = 4
MARKS = {"success": "✔", "failed": "✘", "skipped": "○", "upstream_failed": "·", "running": "▶", "up_for_retry": "↻"}


def follow(night: Night, console: Console) -> list[Task]:
    """Show a run until it ends; its tasks as they ended. An interruption cancels the run."""
    try:
        return _watch(night, console) if console.is_terminal else _print(night, console)
    except BaseException:
        night.cancel()
        raise


def _watch(night: Night, console: Console) -> list[Task]:
    recent: deque[str] = deque(maxlen=SHOWN_LINES)
    tasks: list[Task] = []
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


def _print(night: Night, console: Console) -> list[Task]:
    states: dict[str, tuple[str, int]] = {}
    console.print("  Airflow is starting", highlight=False)
    while True:
        over = night.ended()
        tasks = night.tasks()
        said = night.lines()
        for task in tasks:
            if task.state and states.get(task.name) != (task.state, task.tries) and task.state in MARKS:
                if task.state == "running":
                    console.print(f"{_since(night.started)} {line_of(task)}", highlight=False, soft_wrap=True)
                states[task.name] = (task.state, task.tries)
                if task.state != "running":
                    for line in said:
                        console.print(f"        {line}", highlight=False, markup=False, soft_wrap=True)
                    said = []
                    console.print(f"{_since(night.started)} {line_of(task)}", highlight=False, soft_wrap=True)
        for line in said:
            console.print(f"        {line}", highlight=False, markup=False, soft_wrap=True)
        if over:
            return tasks
        time.sleep(POLL_SECONDS)


def table(tasks: Sequence[Task], started: datetime | None = None) -> Table:
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


def line_of(task: Task) -> str:
    """One task's state as a line."""
    facts = [_time(task), f"{_rows(task)} rows" if _rows(task) else "", _peak(task)]
    told = ", ".join(fact for fact in facts if fact) if task.state != "running" else ""
    state = task.state.replace("_", " ")
    again = f" (try {task.tries})" if task.tries > 1 else ""
    return f"{MARKS.get(task.state, ' ')} {task.name}: {state}{again}" + (f", {told}" if told else "")


def _time(task: Task) -> str:
    if task.ended and task.seconds is not None:
        return f"{task.seconds:.1f} s"
    if task.state == "running" and task.started:
        return f"{max((datetime.now(UTC) - task.started).total_seconds(), 0):.0f} s …"
    return ""


def _rows(task: Task) -> str:
    return "" if task.rows is None or not task.ended else f"{task.rows:,}"


def _peak(task: Task) -> str:
    return f"{task.peak_mib:,.0f} MiB" if task.peak_mib and task.ended else ""


def _style(task: Task) -> str:
    return {"failed": "red", "running": "bold", "success": "green"}.get(task.state, "dim")


def _since(started: datetime) -> str:
    seconds = int((datetime.now(UTC) - started).total_seconds())
    return f"{seconds // 60}:{seconds % 60:02d}"
