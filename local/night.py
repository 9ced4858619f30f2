"""One run of the nightly DAG: started by the Airflow that is there, and followed to its end."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, date, datetime
from pathlib import Path
from typing import IO

from include.errors import FaultError
from include.use_case import UseCaseSpec
from local.airflow import SCHEDULER, Airflow
from local.journal import Journal, TaskRecord
from local.processes import last_line

STEP_LOGGERS = ("StepPod", "PodManager")  # process mode, kubernetes mode
TASK_LOGGERS = ("task", "airflow.task", "airflow.providers.cncf")  # what a task's own log holds under a scheduler
TASK_BEGINS = re.compile(r"\[DAG TEST\] starting task_id=(\S+) map_index=(-?\d+)")
OPERATOR_WORDS = re.compile(  # what the operator logs each time about labels, tries and phases
    r"^(Building pod |Found matching pod |`try_number` of |::(end)?group::|Waiting (up to )?\d+s to get the POD |"
    r"Pod has reached |Pod \S+ (has phase|log read interrupted) |Deleting pod: |Found credentials in |\s*$)|"
    r"\(a process in place of [^)]*\)$"
)


# Even if `make run` ends by SIGKILL, its child ends too, by SIGKILL: while a task runs, Airflow takes a
# SIGTERM for that task only, and goes on with its retry. The step at work is ended by its guard.
ENDS_WITH_US = ("setpriv", "--pdeathsig", "KILL", "--")


@dataclass
class StepLog:
    """The new lines of Airflow's JSON logs, of the steps only."""

    path: Path
    _file: IO[str] | None = field(default=None, init=False)
    _rest: str = field(default="", init=False)

    def lines(self) -> list[str]:
        """What steps have said since the last call."""
        if self._file is None:
            if not self.path.is_file():
                return []
            self._file = self.path.open(errors="replace")
        text = self._rest + self._file.read()
        *whole, self._rest = text.split("\n")
        return [said for line in whole if (said := step_line(line)) is not None]


def step_line(line: str) -> str | None:
    """A step's words in a line of Airflow's JSON log; None for Airflow's own lines."""
    said, logger = _entry(line)
    return said if logger.endswith(STEP_LOGGERS) and not OPERATOR_WORDS.search(said) else None


def _entry(line: str) -> tuple[str, str]:
    """The event of a line of Airflow's JSON log and its logger; both empty for any other line."""
    try:
        entry = json.loads(line)
        return str(entry["event"]), str(entry["logger"])
    except (ValueError, KeyError, TypeError):
        return "", ""


def write_task_logs(log: Path, folder: Path) -> None:
    """Give each task of a tested run the log that Airflow's UI looks for: its part of the run's one log."""
    parts: dict[Path, list[str]] = {}
    tries: Counter[Path] = Counter()
    part: list[str] = []
    with log.open(errors="replace") as lines:
        for line in lines:
            said, logger = _entry(line)
            if begins := TASK_BEGINS.match(said):
                task, index = begins.groups()
                place = folder / f"task_id={task}" / (f"map_index={index}" if int(index) >= 0 else "")
                tries[place] += 1
                part = parts.setdefault(place / f"attempt={tries[place]}.log", [])
            elif logger.startswith(TASK_LOGGERS):
                part.append(line)
    for path, said_lines in parts.items():
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("".join(said_lines), encoding="utf-8")


@dataclass(frozen=True)
class UnderWay:
    """The note of the tested run that is running; a new run that finds one knows of a run that was killed."""

    path: Path

    def read(self) -> tuple[datetime, str] | None:
        """The run's logical date and DAG, if there is a note that can be read."""
        try:
            note = json.loads(self.path.read_text(encoding="utf-8"))
            return datetime.fromisoformat(note["logical_date"]), str(note["dag_id"])
        except (OSError, ValueError, KeyError, TypeError):
            return None

    def write(self, logical_date: datetime, dag_id: str) -> None:
        """Note the run that is about to begin."""
        self.path.write_text(json.dumps({"logical_date": logical_date.isoformat(), "dag_id": dag_id}), encoding="utf-8")


class TestedNight:
    """A run by `airflow dags test`: one child process, no scheduler, the same tasks one after the other."""

    def __init__(self, airflow: Airflow, journal: Journal, spec: UseCaseSpec, day: date, *, force: bool) -> None:
        self.journal = journal
        self.started = datetime.now(UTC)
        self.logical_date = self.started  # a run of its own in the UI: no scheduled run of that day is replaced
        self._under_way = UnderWay(airflow.stack.state / "tested-run.json")
        if abandoned := self._under_way.read():
            journal.close(*abandoned)
        self._under_way.write(self.logical_date, journal.dag_id)
        self.log = airflow.stack.logs / f"run-{spec.name}-{day.isoformat()}.log"
        self.log.parent.mkdir(parents=True, exist_ok=True)
        conf = json.dumps({"date": day.isoformat(), "force": force})
        argv = ["dags", "test", journal.dag_id, self.logical_date.isoformat(), "--conf", conf]
        with self.log.open("wb") as out:
            self.child = subprocess.Popen(
                [*ENDS_WITH_US, sys.executable, "-m", "airflow", *argv],
                env=airflow.environment() | {"AIRFLOW__LOGGING__JSON_LOGS": "True"},
                cwd=airflow.stack.root,
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        self._tail = StepLog(self.log)
        self._shown = airflow.home / "logs" / f"dag_id={journal.dag_id}"
        self._run_id: str | None = None

    def lines(self) -> list[str]:
        """What the steps have logged since the last call."""
        return self._tail.lines()

    def tasks(self) -> list[TaskRecord]:
        """The run's tasks as they stand."""
        run_id = self._found()
        return self.journal.tasks(run_id) if run_id else []

    def ended(self) -> bool:
        """Whether the child is gone."""
        return self.child.poll() is not None

    def succeeded(self) -> bool:
        """Whether the child says that the run is fine."""
        self._close()
        return self.child.wait() == 0

    def last_words(self) -> str:
        """The last line of the child's log, for a run that failed before any step did."""
        return last_line(self.log)

    def cancel(self) -> None:
        """Stop the child, and with it the step that is at work."""
        for signum, seconds in ((signal.SIGTERM, 20), (signal.SIGKILL, 5)):
            if self.child.poll() is None:
                os.killpg(self.child.pid, signum)
                with suppress(subprocess.TimeoutExpired):
                    self.child.wait(seconds)
        self._close()

    def _close(self) -> None:
        self.journal.close(self.logical_date)
        self._under_way.path.unlink(missing_ok=True)
        if run_id := self._found():
            write_task_logs(self.log, self._shown / f"run_id={run_id}")

    def _found(self) -> str | None:
        self._run_id = self._run_id or self.journal.run_since(self.logical_date, self.started)
        return self._run_id


class ScheduledNight:
    """A run that the scheduler of `make up` carries out."""

    def __init__(self, airflow: Airflow, journal: Journal, spec: UseCaseSpec, day: date, *, force: bool) -> None:
        self.journal = journal
        self.started = datetime.now(UTC)
        body = {"logical_date": None, "conf": {"date": day.isoformat(), "force": force}}
        answer = airflow.call("POST", f"/dags/{journal.dag_id}/dagRuns", body)
        self.run_id = str(answer["dag_run_id"])
        self.log = airflow.home / "logs" / f"dag_id={journal.dag_id}" / f"run_id={self.run_id}"
        self._tails: dict[Path, StepLog] = {}

    def lines(self) -> list[str]:
        """What the steps have logged since the last call."""
        return list(self._lines())

    def _lines(self) -> Iterator[str]:
        for path in sorted(self.log.rglob("attempt=*.log")):
            yield from self._tails.setdefault(path, StepLog(path)).lines()

    def tasks(self) -> list[TaskRecord]:
        """The run's tasks as they stand."""
        return self.journal.tasks(self.run_id)

    def ended(self) -> bool:
        """Whether Airflow has closed the run."""
        return self.journal.state(self.run_id) in ("success", "failed", "unknown")

    def succeeded(self) -> bool:
        """Whether Airflow closed the run as a success."""
        return self.journal.state(self.run_id) == "success"

    def cancel(self) -> None:
        """Leave the run to the scheduler."""


StartedRun = TestedNight | ScheduledNight


def begin(airflow: Airflow, journal: Journal, spec: UseCaseSpec, day: date, *, force: bool = False) -> StartedRun:
    """Start a run for a data day: by the scheduler of `make up` if that is running, else by one child process."""
    if airflow.processes.running(SCHEDULER):
        if not airflow.healthy("scheduler"):
            raise FaultError("Airflow's scheduler is running but not healthy; `make down`, then try again")
        return ScheduledNight(airflow, journal, spec, day, force=force)
    return TestedNight(airflow, journal, spec, day, force=force)
