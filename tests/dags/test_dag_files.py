"""The DAG files parse, alone, quickly and with nothing heavy in tow."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from airflow.dag_processing.dagbag import DagBag
from airflow.serialization.serialized_objects import DagSerialization

from tests.airflow_home import ROOT, variables
from tests.use_case_copy import copied

HEAVY = {
    "boto3", "duckdb", "great_expectations", "matplotlib", "mlflow", "numpy", "obstore", "onnx", "onnxruntime",
    "pandas", "pyarrow", "pyspark", "scipy", "sklearn", "sqlmodel",
}  # fmt: skip

TIMETABLES = ["plugins.data_days.DataDays", "plugins.worker_timetable.WorkerTimetable"]

FLIGHT_DELAY = [
    "flight_delay_nightly_training",
    "flight_delay_rollback",
    "flight_delay_score_departures",
    "flight_delay_worker_1",
    "flight_delay_worker_2",
]

TIMETABLE = 'workers: [{name: one, topic: a, writes: b, shifts: {first: "25:00"}}]'

PARSE = """
import json, sys
from airflow.dag_processing.dagbag import DagBag
bag = DagBag(sys.argv[1])
print(json.dumps({"dags": sorted(bag.dags), "errors": bag.import_errors, "modules": sorted(sys.modules)}))
"""


def parse(home: Path, **environment: str) -> dict[str, Any]:
    """Parse the DAG files in a fresh process that can reach no database."""
    done = subprocess.run(
        [sys.executable, "-c", PARSE, str(ROOT / "dags")],
        env={
            "PATH": os.environ["PATH"],
            **variables(home),
            "AIRFLOW__LOGGING__LOGGING_LEVEL": "CRITICAL",
            "AIRFLOW__DATABASE__SQL_ALCHEMY_CONN": "postgresql+psycopg2://nobody@127.0.0.1:1/none",
            **environment,
        },
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )
    return json.loads(done.stdout.splitlines()[-1])


@pytest.mark.stack
def test_every_dag_file_parses_and_imports_no_machine_learning(tmp_path: Path) -> None:
    found = parse(tmp_path)
    assert found["errors"] == {}
    assert found["dags"] == FLIGHT_DELAY
    assert not {name.partition(".")[0] for name in found["modules"]} & HEAVY


@pytest.mark.stack
def test_another_use_case_gets_dags_by_being_named(tmp_path: Path) -> None:
    packages = "include.use_cases.flight_delay, tests.use_cases.ice_cream"
    found = parse(tmp_path, NIGHTSHIFT_USE_CASES=packages)
    assert found["errors"] == {}
    assert {"ice_cream_nightly_training", "ice_cream_rollback", "flight_delay_rollback"} < set(found["dags"])


@pytest.mark.parametrize(
    ("edit", "said"),
    [
        pytest.param(None, "lists packages with a spec.py", id="not there"),
        pytest.param(("topics=(", "topics=(("), "spec.py:9: '(' was never closed", id="a syntax error"),
        pytest.param("raise RuntimeError('out of order')", "spec.py:1: RuntimeError: out of order", id="raises"),
        pytest.param("SPEC = None", "SPEC is a NoneType", id="no spec"),
        pytest.param(("cron=", "crom="), "spec.py:9: TypeError: SPEC got an unexpected", id="a misnamed field"),
        pytest.param(("history_days=40", "history_days='40'"), "history_days='40': is a str", id="a wrong type"),
        pytest.param(("Europe/Rome", "Europe/Roma"), "spec.py:9: timezone='Europe/Roma'", id="a bad zone"),
        pytest.param(("30 0 * * *", "30 24 * * *"), "'24' is no hour", id="a bad cron"),
        pytest.param(('package="broken"', 'package="mine"'), "SPEC.package says 'mine'", id="another package"),
        pytest.param(('name="ice_cream"', 'name="flight_delay"'), "is the name of", id="a name that is taken"),
    ],
)
def test_a_broken_use_case_is_an_import_error_that_names_it_and_the_other_dags_stay(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, edit: tuple[str, str] | str | None, said: str
) -> None:
    monkeypatch.setenv("NIGHTSHIFT_USE_CASES", "include.use_cases.flight_delay, broken")
    with copied(tmp_path, {"spec.py": edit}, name="broken"):
        bag = DagBag(ROOT / "dags")
    assert sorted(bag.dags) == FLIGHT_DELAY
    ((file, error),) = bag.import_errors.items()
    assert file.endswith("broken_use_cases.py")
    assert "'broken'" in error and said in error


def test_a_broken_timetable_takes_only_the_dags_that_it_would_have_made(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NIGHTSHIFT_USE_CASES", "broken, include.use_cases.flight_delay")
    with copied(tmp_path, {"timetable.yaml": TIMETABLE}, name="broken"):
        bag = DagBag(ROOT / "dags")
    assert sorted(bag.dags) == sorted([*FLIGHT_DELAY, "ice_cream_nightly_training", "ice_cream_rollback"])
    ((_, error),) = bag.import_errors.items()
    assert "'broken'" in error and "timetable.yaml: workers.0.shifts.first" in error


def test_dags_survive_serialization(bag: DagBag) -> None:
    for dag in bag.dags.values():
        written = DagSerialization.to_dict(dag)
        read = DagSerialization.from_dict(json.loads(json.dumps(written)))
        assert read.task_ids == dag.task_ids
        assert [task.pool for task in read.tasks] == [task.pool for task in dag.tasks]
        assert read.timetable.serialize() == written["dag"]["timetable"]["__var"]


@pytest.mark.airflow
def test_the_plugin_loads_without_an_error_and_drags_nothing_in(tmp_path: Path) -> None:
    script = (
        "import sys, json; from airflow import plugins_manager as p; "
        "print(json.dumps([sorted(p.get_timetables_plugins()), p.get_import_errors(), 'kubernetes' in sys.modules]))"
    )
    environment = {"PATH": os.environ["PATH"], **variables(tmp_path), "AIRFLOW__LOGGING__LOGGING_LEVEL": "CRITICAL"}
    done = subprocess.run(
        [sys.executable, "-c", script], env=environment, stdout=subprocess.PIPE, text=True, check=True
    )
    assert json.loads(done.stdout.splitlines()[-1]) == [TIMETABLES, {}, False]
