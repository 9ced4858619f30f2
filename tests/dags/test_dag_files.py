"""The DAG files parse, alone, quickly and with nothing heavy in tow."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from airflow.dag_processing.dagbag import DagBag
from airflow.serialization.serialized_objects import DagSerialization

from tests.airflow_home import ROOT, variables

HEAVY = {
    "boto3", "duckdb", "great_expectations", "matplotlib", "mlflow", "numpy", "onnx", "onnxruntime", "pandas",
    "pyarrow", "pyspark", "scipy", "sklearn", "sqlmodel",
}  # fmt: skip

TIMETABLES = ["plugins.data_days.DataDays", "plugins.worker_timetable.WorkerTimetable"]

PARSE = """
import json, sys
from airflow.dag_processing.dagbag import DagBag
bag = DagBag(sys.argv[1])
print(json.dumps({"dags": sorted(bag.dags), "errors": bag.import_errors, "modules": sorted(sys.modules)}))
"""


def parse(home: Path, **environment: str) -> dict[str, object]:
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


def test_every_dag_file_parses_and_imports_no_machine_learning(tmp_path: Path) -> None:
    found = parse(tmp_path)
    assert found["errors"] == {}
    assert found["dags"] == [
        "flight_delay_nightly_training",
        "flight_delay_rollback",
        "flight_delay_score_departures",
        "flight_delay_worker_1",
        "flight_delay_worker_2",
    ]
    assert not {name.partition(".")[0] for name in found["modules"]} & HEAVY


def test_another_use_case_gets_dags_by_being_named(tmp_path: Path) -> None:
    packages = "include.use_cases.flight_delay, tests.use_cases.ice_cream"
    found = parse(tmp_path, NIGHTSHIFT_USE_CASES=packages)
    assert found["errors"] == {}
    assert {"ice_cream_nightly_training", "ice_cream_rollback", "flight_delay_rollback"} < set(found["dags"])


def test_a_use_case_that_is_not_there_is_an_import_error_that_names_it(tmp_path: Path) -> None:
    found = parse(tmp_path, NIGHTSHIFT_USE_CASES="include.use_cases.nonesuch")
    assert all("use case 'include.use_cases.nonesuch' cannot be loaded" in text for text in found["errors"].values())
    assert len(found["errors"]) == len(list((ROOT / "dags").glob("*.py")))


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
