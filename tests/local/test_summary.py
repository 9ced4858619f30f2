"""What a night came to, read from a lake that holds one."""

from __future__ import annotations

import io
from collections.abc import Callable, Sequence
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from rich.console import Console

from include.deployment.serving_api import ServingApi
from include.storage.lake import Dataset, Lake, Layer, to_json
from include.use_cases.flight_delay.spec import SPEC
from local.journal import TaskRecord, busy_seconds
from local.progress import line_of
from local.summary import Summary, airflow_share
from stores.folder import FileStore

DAY = date(2013, 10, 1)
START = datetime(2026, 11, 21, 1, 15, tzinfo=UTC)
SCORES = {"auc": 0.73, "average_precision": 0.51, "brier": 0.148, "log_loss": 0.46, "calibration_error": 0.02}


def task(step: str, *, begin: float = 0, seconds: float = 10, state: str = "success", **report: Any) -> TaskRecord:
    started, finished = START + timedelta(seconds=begin), START + timedelta(seconds=begin + seconds)
    body = {"started": started.isoformat(), "finished": finished.isoformat(), "seconds": seconds, **report}
    return TaskRecord(step, "", state, started, finished, 1, body)


@pytest.fixture
def lake(tmp_path: Path) -> Lake:
    lake = Lake(FileStore(tmp_path), SPEC.name)
    for candidate in SPEC.candidates:
        report = to_json({"scores": {"two_hours": SCORES, "nightly": SCORES}})
        lake.publish(Dataset(Layer.CANDIDATES, candidate).on(DAY), {"report.json": report})
    decision = {
        "challenger": "hist_gradient_boosting",
        "promoted": True,
        "reason": "AUC 0.730 beats the baseline's 0.640",
        "remark": "there was no champion",
        "trials": {"historical_rates": {"auc": 0.64, "failures": ["is the baseline"]}},
    }
    lake.publish(Dataset(Layer.DECISIONS, "champion").on(DAY), {"decision.json": to_json(decision)})
    predictions = pa.table({"flight_id": ["a", "b", "c"]})
    lake.publish(Dataset(Layer.PREDICTIONS, "nightly").on(DAY + timedelta(days=1)), {"part.parquet": predictions})
    return lake


@pytest.fixture
def shown(lake: Lake) -> Callable[[Sequence[TaskRecord]], str]:
    def show(tasks: Sequence[TaskRecord]) -> str:
        out = io.StringIO()
        nobody = ServingApi("http://127.0.0.1:1", "token", SPEC.name)
        Summary(lake, SPEC, DAY, nobody).print(Console(file=out, width=120), tasks, wall=40.0)
        return out.getvalue()

    return show


def test_it_says_what_a_person_wants_to_know(
    shown: Callable[[Sequence[TaskRecord]], str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("include.deployment.serving_api.PAUSE_SECONDS", 0.0)
    text = shown(
        [
            task("extract", seconds=12.3, result={"rows": {"raw/flights": 900, "raw/weather": 72}}, peak_rss_mib=310.0),
            task("register", begin=20, result={"facts": {"champion": "7", "champion_trained_through": "2013-10-01"}}),
        ]
    )
    extract = next(line for line in text.splitlines() if "extract" in line)
    assert extract.split() == ["✔", "extract", "12.3", "s", "972", "310", "MiB"]
    best = next(line for line in text.splitlines() if line.startswith("hist_gradient_boosting"))
    assert best.split()[2:] == ["0.7300", "0.5100", "0.1480", "0.4600", "0.0200"]
    assert "hist_gradient_boosting: promoted" in text
    assert "why: AUC 0.730 beats the baseline's 0.640 (there was no champion)" in text
    assert "historical_rates: is the baseline" in text
    assert "in force: version 7, trained through 2013-10-01" in text
    assert "nightly: 3 rows, file://" in text
    assert "two_hours: none (no version that had not seen the day)" in text
    assert "no answer: serving at http://127.0.0.1:1 does not answer" in text


def test_steps_that_overlap_are_counted_once_in_airflows_share() -> None:
    tasks = [task("train", begin=0), task("train", begin=5), task("score", begin=20, seconds=5)]
    assert busy_seconds(tasks) == pytest.approx(20.0)
    assert airflow_share(tasks, 25.0) == "25.0 s in all, of which Airflow's own 5.0 s (20%)"


def test_a_task_as_a_line() -> None:
    assert line_of(task("extract", peak_rss_mib=1500.4)) == "✔ extract: success, 10.0 s, 1,500 MiB"
    assert (
        line_of(TaskRecord("train", "linear", "up_for_retry", START, None, 2)) == "↻ train linear: up for retry (try 2)"
    )
