"""What steps say is told apart from what Airflow says, however it arrives."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from local.night import ENDS_WITH_US, StepLog, step_line, write_task_logs


def entry(event: str, logger: str = "airflow.task.operators.plugins.pod_operator.StepPod") -> str:
    return json.dumps({"event": event, "logger": logger, "level": "info"})


def test_only_what_a_step_said_is_shown() -> None:
    assert step_line(entry("extract: 900 rows")) == "extract: 900 rows"
    assert step_line(entry("[base] extract: 900 rows", "airflow.providers.x.PodManager")) == "[base] extract: 900 rows"
    assert step_line(entry("Task started", "airflow.api")) is None
    assert step_line(entry("Building pod extract-1 with labels: {}")) is None
    assert step_line(entry("Found matching pod extract-1 with labels {'task_id': 'extract'}")) is None
    assert step_line(entry("Pod extract-1 has phase Running", "airflow.providers.x.PodManager")) is None
    assert step_line(entry("", "airflow.providers.x.PodManager")) is None
    why = "The Pod has an Event: 0/1 nodes are available: 1 Insufficient cpu. from None"
    assert step_line(entry(why, "airflow.providers.x.PodManager")) == why
    assert step_line(entry("python -m include.steps.extract  (a process in place of nightshift/step:0.1.0)")) is None
    assert step_line("Traceback (most recent call last):") is None
    assert step_line("[1, 2]") is None


def test_a_log_is_read_as_it_grows_and_a_half_written_line_waits(tmp_path: Path) -> None:
    path = tmp_path / "run.log"
    tail = StepLog(path)
    assert tail.lines() == []
    first, second = entry("one"), entry("two")
    path.write_text(f"{first}\n{second[:20]}")
    assert tail.lines() == ["one"]
    with path.open("a") as log:
        log.write(second[20:] + "\n")
    assert tail.lines() == ["two"]
    assert tail.lines() == []


@pytest.mark.stack
def test_a_killed_run_leaves_no_airflow_behind_that_goes_on_with_it() -> None:
    deaf = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('up', flush=True); time.sleep(60)"
    starts = f"import subprocess, sys; subprocess.run([*{ENDS_WITH_US!r}, sys.executable, '-c', {deaf!r}])"
    with subprocess.Popen([sys.executable, "-c", starts], stdout=subprocess.PIPE, text=True) as parent:
        assert parent.stdout is not None
        assert parent.stdout.readline() == "up\n"
        os.kill(parent.pid, signal.SIGKILL)
        assert parent.stdout.read() == "", "the child holds the pipe open as long as it lives"


def test_each_task_of_a_run_without_a_scheduler_has_its_log_where_the_ui_looks_for_it(tmp_path: Path) -> None:
    test = "airflow.sdk.definitions.dag"
    lines = [
        entry("get next_dagrun_info", test),
        entry("[DAG TEST] starting task_id=extract map_index=-1", test),
        entry("Task instance state updated", "airflow.api_fastapi.execution_api"),
        entry("extract: 900 rows"),
        entry("[DAG TEST] starting task_id=train map_index=1", test),
        "not JSON",
        entry("train: the server is away"),
        entry("[DAG TEST] starting task_id=train map_index=1", test),
        entry("train: fitted"),
    ]
    (tmp_path / "run.log").write_text("\n".join(lines) + "\n")
    folder = tmp_path / "run_id=manual__1"
    write_task_logs(tmp_path / "run.log", folder)
    said = {
        path.relative_to(folder).as_posix(): [json.loads(line)["event"] for line in path.read_text().splitlines()]
        for path in folder.rglob("*.log")
    }
    assert said == {
        "task_id=extract/attempt=1.log": ["extract: 900 rows"],
        "task_id=train/map_index=1/attempt=1.log": ["train: the server is away"],
        "task_id=train/map_index=1/attempt=2.log": ["train: fitted"],
    }
