"""What steps say is told apart from what Airflow says, however it arrives."""

from __future__ import annotations

import json
from pathlib import Path

from include.local.night import Tail, step_line


def entry(event: str, logger: str = "airflow.task.operators.plugins.pod_operator.StepPod") -> str:
    return json.dumps({"event": event, "logger": logger, "level": "info"})


def test_only_what_a_step_said_is_shown() -> None:
    assert step_line(entry("extract: 900 rows")) == "extract: 900 rows"
    assert step_line(entry("[base] extract: 900 rows", "airflow.providers.x.PodManager")) == "[base] extract: 900 rows"
    assert step_line(entry("Task started", "airflow.api")) is None
    assert step_line(entry("Building pod extract-1 with labels: {}")) is None
    assert step_line(entry("python -m include.steps.extract  (a process in place of nightshift/step:0.1.0)")) is None
    assert step_line("Traceback (most recent call last):") is None
    assert step_line("[1, 2]") is None


def test_a_log_is_read_as_it_grows_and_a_half_written_line_waits(tmp_path: Path) -> None:
    path = tmp_path / "run.log"
    tail = Tail(path)
    assert tail.lines() == []
    first, second = entry("one"), entry("two")
    path.write_text(f"{first}\n{second[:20]}")
    assert tail.lines() == ["one"]
    with path.open("a") as log:
        log.write(second[20:] + "\n")
    assert tail.lines() == ["two"]
    assert tail.lines() == []
