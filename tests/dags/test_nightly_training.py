"""The nightly DAG: its shape, what it promises to other DAGs; and a run of it, with steps that do nothing."""

from __future__ import annotations

import json
import os
import re
import sqlite3
import subprocess
import sys
from collections.abc import Callable
from contextlib import closing
from copy import deepcopy
from datetime import date, timedelta
from itertools import pairwise
from pathlib import Path
from typing import Any
from urllib.parse import urlparse

import pytest
from airflow.sdk import DAG
from airflow.sdk.exceptions import ParamValidationError

from include import step_specs
from plugins.pod_operator import StepPod
from tests.airflow_home import ROOT, variables

CHAIN = ["extract", "features", "validate", "train", "choose", "register", "score", "deploy", "smoke_test"]


def test_it_is_one_chain_of_step_pods(nightly: DAG) -> None:
    assert [task.task_id for task in nightly.topological_sort()] == CHAIN
    for before, after in pairwise(CHAIN):
        assert nightly.task_dict[before].downstream_task_ids == {after}
    types = {getattr(task, "operator_class", type(task)) for task in nightly.tasks}
    assert types == {StepPod}


def test_training_is_one_task_for_each_candidate(nightly: DAG) -> None:
    train = nightly.task_dict["train"]
    assert train.expand_input.value == {
        "candidate": ["hist_gradient_boosting", "logistic_regression", "historical_rates"]
    }


def test_a_fault_is_retried_with_growing_pauses_and_an_end(nightly: DAG) -> None:
    for task in nightly.tasks:
        assert task.retries == 3
        assert task.retry_exponential_backoff == 2
        assert timedelta(seconds=5) <= task.retry_delay < task.max_retry_delay <= timedelta(minutes=5)


def test_every_task_has_an_end_in_time(nightly: DAG) -> None:
    assert nightly.dagrun_timeout is not None
    for step in step_specs.NIGHTLY:
        task = nightly.task_dict[step.name]
        assert task.execution_timeout == step.timeout > step.deadline
        task = task.unmap({"candidate": "x"}) if step == step_specs.TRAIN else task
        assert task.execution_timeout == step.timeout
        assert task.active_deadline_seconds == step.deadline.total_seconds()
        assert task.durable
        assert not task.do_xcom_push, "no sidecar"


def test_every_task_says_what_it_does_whose_it_is_and_in_which_pool(nightly: DAG) -> None:
    assert nightly.doc_md.startswith("## Will this flight arrive more than 15 minutes late?")
    assert {f"**{task_id}**" for task_id in nightly.task_ids} <= set(re.findall(r"\*\*\w+\*\*", nightly.doc_md))
    assert nightly.tags == {"nightshift", "flight_delay"}
    for task in nightly.tasks:
        assert task.doc_md
        assert task.owner == "nightshift"
    pools = {task.task_id: task.pool for task in nightly.tasks}
    assert (pools["features"], pools["train"], pools["score"]) == ("spark", "training", "default_pool")


def test_its_outputs_are_assets_that_others_can_follow(nightly: DAG) -> None:
    outlets = [asset for task in nightly.tasks for asset in task.outlets]
    assert [asset.name for asset in outlets] == [
        "flight_delay/raw/schedule",
        "flight_delay/raw/flights",
        "flight_delay/raw/weather",
        "flight_delay/features/nightly",
        "flight_delay/features/two_hours",
        "flight_delay/champion",
        "flight_delay/predictions/nightly",
        "flight_delay/predictions/two_hours",
    ]
    for asset in outlets:
        assert urlparse(asset.uri).scheme == "x-nightshift"


@pytest.mark.parametrize(
    ("name", "bad"), [("date", "1st of May"), ("candidates", ["a_stranger"]), ("candidates", "x"), ("force", "maybe")]
)
def test_the_form_refuses_what_makes_no_sense(nightly: DAG, name: str, bad: Any) -> None:
    assert nightly.params.validate() == {"date": None, "force": False, "candidates": []}
    with pytest.raises(ParamValidationError):
        deepcopy(nightly.params.get_param(name)).resolve(bad)


def test_the_form_may_be_emptied_again(nightly: DAG) -> None:
    for name in ("date", "candidates"):
        assert deepcopy(nightly.params.get_param(name)).resolve(None) is None


# A run


@pytest.fixture(scope="module")
def airflow(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """The environment of an Airflow with a migrated database, whose nightly DAG has steps that do nothing."""
    home = tmp_path_factory.mktemp("airflow")
    environment = {
        "PATH": os.environ["PATH"],
        "HOME": str(home),
        **variables(home),
        "AIRFLOW__CORE__DAGS_FOLDER": str(ROOT / "tests" / "dags" / "folder"),
        "AIRFLOW_VAR_NIGHTSHIFT_POD_RUNTIME": "process",
        "AIRFLOW_VAR_NIGHTSHIFT_LAKE": str(home / "lake"),
    }
    run_airflow(environment, "db", "migrate")
    return environment


def run_airflow(environment: dict[str, str], *arguments: str) -> subprocess.CompletedProcess[str]:
    """One call of Airflow's command line."""
    command = [sys.executable, "-m", "airflow", *arguments]
    return subprocess.run(
        command, env=environment, cwd=environment["HOME"], capture_output=True, text=True, check=False
    )


def rows(airflow: dict[str, str], query: str) -> list[tuple[Any, ...]]:
    """Rows of Airflow's database."""
    with closing(sqlite3.connect(Path(airflow["HOME"], "airflow.db"))) as session:
        return session.execute(query).fetchall()


def states(airflow: dict[str, str]) -> dict[str, str]:
    """The states of the newest run's tasks, a mapped one as `task/what it is mapped over`."""
    newest = "run_id = (SELECT run_id FROM dag_run ORDER BY id DESC LIMIT 1)"
    found = rows(airflow, f"SELECT task_id, rendered_map_index, state FROM task_instance WHERE {newest}")
    return {f"{task}/{index}" if index else task: state for task, index, state in found}


@pytest.fixture
def told(airflow: dict[str, str]) -> Callable[[], dict[str, dict[str, Any]]]:
    """What each task of the newest run was told, by name of its report in the lake."""

    def read() -> dict[str, dict[str, Any]]:
        runs = Path(airflow["AIRFLOW_VAR_NIGHTSHIFT_LAKE"], "flight_delay", "runs")
        reports = max(runs.glob("*/*"), key=lambda folder: folder.stat().st_mtime).glob("*.json")
        read = {path.stem: json.loads(path.read_text()) for path in reports}
        return {name: report["result"]["facts"] for name, report in read.items() if "result" in report}

    return read


@pytest.mark.airflow
def test_a_run_tells_every_step_what_was_asked_for(airflow: dict[str, str], told: Any) -> None:
    # Given a person who asks for one day, one candidate, and all of it again
    asked = {"date": "2013-10-01", "force": True, "candidates": ["historical_rates"]}
    # When the DAG runs
    done = run_airflow(airflow, "dags", "test", "flight_delay_nightly_training", "--conf", json.dumps(asked))
    # Then all is well, the other candidates are skipped, and that stops nobody
    assert done.returncode == 0, done.stdout[-3000:]
    assert states(airflow) == {
        **{task: "success" for task in CHAIN if task != "train"},
        "train/historical_rates": "success",
        "train/hist_gradient_boosting": "skipped",
        "train/logistic_regression": "skipped",
    }
    for name, arguments in told().items():
        assert arguments["date"] == "2013-10-01", name
        assert arguments["force"] is True, name
    assert told()["train-historical_rates"]["candidates"] == "historical_rates"
    # And results are the tasks' values, and on the assets' events
    values = dict(rows(airflow, "SELECT task_id, value FROM xcom WHERE key = 'return_value' AND map_index = -1"))
    assert json.loads(values["score"])["metrics"] == {"auc": 0.75}
    events = rows(airflow, "SELECT a.name, e.extra FROM asset_event e JOIN asset a ON a.id = e.asset_id")
    assert len(events) == 8
    for _, extra in events:
        told = json.loads(extra)
        assert told.pop("facts")["use_case"] == "include.use_cases.flight_delay"
        assert told == {"date": "2013-10-01", "rows": {"raw/flights": 3}, "metrics": {"auc": 0.75}, "uris": {}}


@pytest.mark.airflow
def test_bad_data_stops_the_run_at_once_and_says_why(airflow: dict[str, str]) -> None:
    # Given a day whose data breaks its contract, and no wish but the default ones
    # When the DAG runs by hand for that day
    done = run_airflow(airflow, "dags", "test", "flight_delay_nightly_training", "2013-10-02")
    # Then it fails without a second try, nothing downstream runs, and the reason is in the log in one line
    assert done.returncode != 0
    found = states(airflow)
    assert found["validate"] == "failed"
    assert {found[task] for task in CHAIN[4:]} == {"upstream_failed"}
    tries = rows(airflow, "SELECT try_number FROM task_instance WHERE state = 'failed'")
    assert tries == [(1,)]
    assert "raw/flights: 3 rows break the rule 'distance'; look at the source" in done.stdout + done.stderr


@pytest.mark.airflow
def test_a_misspelt_parameter_ends_the_run_before_any_step(airflow: dict[str, str]) -> None:
    # Given a person who writes `dates` for `date`
    asked = json.dumps({"dates": "2013-10-01"})
    # When the DAG runs
    done = run_airflow(airflow, "dags", "test", "flight_delay_nightly_training", "--conf", asked)
    # Then no step does anything for another day, and the first task's line names the parameter
    assert done.returncode != 0
    found = states(airflow)
    assert found["extract"] == "failed"
    assert {found[task] for task in CHAIN[1:]} == {"upstream_failed"}
    assert "unknown run parameter 'dates'; did you mean 'date'?" in done.stdout + done.stderr


def test_the_bad_day_of_the_fakes_is_the_day_meant_above() -> None:
    from tests.dags.fake_step import BAD_DAY

    assert date(2013, 10, 2) == BAD_DAY
