"""The rollback DAG."""

from __future__ import annotations

from copy import deepcopy

import pytest
from airflow.dag_processing.dagbag import DagBag
from airflow.sdk import DAG
from airflow.sdk.exceptions import ParamValidationError


@pytest.fixture
def rollback(bag: DagBag) -> DAG:
    return bag.dags["flight_delay_rollback"]


def test_it_is_started_by_hand_only(rollback: DAG) -> None:
    assert not rollback.timetable.can_be_scheduled
    assert [task.task_id for task in rollback.tasks] == ["rollback"]


def test_a_version_is_a_number_or_nothing(rollback: DAG) -> None:
    version = deepcopy(rollback.params.get_param("version"))
    assert version.resolve(None) is None
    assert version.resolve("12") == "12"
    with pytest.raises(ParamValidationError):
        version.resolve("12; rm -rf /")
