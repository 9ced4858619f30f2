"""What this project uses of Airflow beyond its public interface."""

from __future__ import annotations

import tests.airflow_home  # noqa: F401 (before anything of Airflow)

# isort: split
import inspect
import io
import json
import re
from pathlib import Path
from typing import Any

import airflow
from airflow.api_fastapi.auth.managers.simple.simple_auth_manager import SimpleAuthManager
from airflow.api_fastapi.core_api.security import get_user
from airflow.cli.cli_parser import get_parser
from airflow.models.dagrun import DagRun
from airflow.models.taskinstance import TaskInstance
from airflow.models.variable import Variable
from airflow.providers.common.compat.sdk import conf
from airflow.sdk.definitions import dag
from airflow.utils.state import DagRunState, TaskInstanceState

from local import clearing, journal, night, status
from local.airflow import _COMMANDS


def columns(model: Any) -> set[str]:
    return {column.name for column in model.__table__.columns}


def quoted(sql: str) -> set[str]:
    return set(re.findall(r"'([a-z_]+)'", sql))


def test_airflow_still_keeps_runs_in_these_columns() -> None:
    assert DagRun.__tablename__ == "dag_run"
    read = (
        "dag_id run_id state logical_date run_after conf data_interval_start start_date end_date run_type clear_number"
    )
    assert set(read.split()) <= columns(DagRun)
    assert all("FROM dag_run" in sql for sql in (journal.RUN_SINCE, journal.RUN_STATE, clearing.RUNS, status.LAST_RUNS))


def test_airflow_still_keeps_tasks_in_these_columns() -> None:
    assert TaskInstance.__tablename__ == "task_instance"
    read = "dag_id run_id task_id map_index state start_date end_date try_number"
    assert set(read.split()) <= columns(TaskInstance)


def test_airflow_still_calls_states_by_these_names() -> None:
    known = {state.value for state in TaskInstanceState} | {state.value for state in DagRunState}
    assert quoted(journal.CLOSE) <= known
    assert set(journal.ENDED) <= known
    unfinished = {state.value for state in TaskInstanceState} - set(journal.ENDED)
    assert unfinished <= quoted(journal.CLOSE) | {"up_for_reschedule", "awaiting_input"}, (
        "a run left in it is not closed"
    )


def test_airflow_still_stamps_its_database_by_alembic() -> None:
    environment = Path(airflow.__file__).with_name("migrations") / "env.py"
    assert 'version_table = "alembic_version"' in environment.read_text(encoding="utf-8")


def test_airflow_still_parses_its_commands_with_this_parser() -> None:
    assert "from airflow.cli.cli_parser import get_parser" in _COMMANDS
    parsed = get_parser().parse_args(["connections", "import", "--overwrite", "connections.json"])
    assert callable(parsed.func)
    assert callable(get_parser().parse_args(["db", "migrate"]).func)


def test_airflow_still_logs_the_start_of_a_tested_task_so() -> None:
    said = re.search(r'log\.info\("(\[DAG TEST\] starting [^"]*)"', inspect.getsource(dag))
    assert said is not None
    assert night.TASK_BEGINS.match(said[1] % ("extract", -1))


def test_airflow_still_shows_logs_from_these_files() -> None:
    template = conf.get("logging", "log_filename_template", fallback="")
    assert template.startswith("dag_id={{ ti.dag_id }}/run_id={{ ti.run_id }}/task_id={{ ti.task_id }}/")
    assert "map_index={{ ti.map_index }}/" in template
    assert template.endswith("attempt={{ try_number|default(ti.try_number) }}.log")


def test_airflow_still_reads_passwords_from_a_json_object() -> None:
    content = io.StringIO(json.dumps({"admin": "a password"}))
    assert SimpleAuthManager._get_passwords(content) == {"admin": "a password"}


def test_airflow_still_knows_a_logged_in_user_by_this_dependency() -> None:
    assert inspect.iscoroutinefunction(get_user)
    assert "request" in inspect.signature(get_user).parameters


def test_airflow_still_reads_a_variable_in_its_server_by_this_class() -> None:
    assert {"key", "default_var"} <= set(inspect.signature(Variable.get).parameters)


def test_airflow_still_hands_providers_its_settings_from_here() -> None:
    assert conf.get("api", "base_url", fallback="none") is not None
