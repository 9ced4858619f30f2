"""The workers' DAGs: one run a shift, one at a time, over when the shift is."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from typing import Any

import pendulum
import pytest
from airflow.sdk import DAG
from airflow.sdk.definitions.retry_policy import RetryAction, RetryDecision
from airflow.sdk.exceptions import AirflowException

import tests.airflow_home  # noqa: F401 (before anything of Airflow)
from dags.score_ahead import score_ahead
from dags.workers import worker_dags
from include.command_line import parse
from include.ingestion.timetable import load_timetable
from include.steps import work
from include.use_cases.flight_delay.spec import SPEC
from plugins.deployment import timetables
from plugins.pod_operator import StepPod

NAMES = ("worker_1", "worker_2")


@pytest.fixture
def dags() -> dict[str, DAG]:
    timetable = load_timetable(SPEC.package)
    assert timetable is not None
    return dict(zip(NAMES, worker_dags(SPEC, timetable), strict=True))


def task(dag: DAG) -> StepPod:
    (only,) = dag.tasks
    assert isinstance(only, StepPod)
    return only


def argv(dag: DAG, **about: Any) -> list[str]:
    """What the pod of a run is told. (A run without a logical date has no interval, nor any variable that names it.)"""
    context = {"dag_run": SimpleNamespace(**{"run_after": None, "data_interval_end": None, **about})}
    return [dag.get_template_env().from_string(word).render(**context) for word in task(dag).arguments]


def new_york(text: str) -> pendulum.DateTime:
    moment = pendulum.parse(text, tz="America/New_York")
    assert isinstance(moment, pendulum.DateTime)
    return moment


@pytest.mark.parametrize("name", NAMES)
def test_no_two_runs_of_a_worker_can_be_at_once(name: str, dags: dict[str, DAG]) -> None:
    """The timetable has no two shifts at once (test_day_plan.py); a run by hand waits for the other."""
    assert dags[name].max_active_runs == 1


@pytest.mark.parametrize("name", NAMES)
def test_missed_shifts_are_not_made_up_for(name: str, dags: dict[str, DAG]) -> None:
    assert dags[name].catchup is False


@pytest.mark.parametrize(("name", "minutes"), zip(NAMES, (15, 60), strict=True))
def test_a_worker_that_does_not_end_by_itself_is_ended_two_minutes_after_its_shift(
    name: str, minutes: int, dags: dict[str, DAG]
) -> None:
    most = timedelta(minutes=minutes + 2)
    pod = task(dags[name])
    assert dags[name].dagrun_timeout == most
    assert pod.execution_timeout == most
    assert pod.active_deadline_seconds == most.total_seconds()


def test_a_worker_is_told_when_its_shift_ends(dags: dict[str, DAG]) -> None:
    words = argv(dags["worker_1"], data_interval_end=new_york("2026-06-01 06:35").in_timezone("UTC"))
    assert words[2:] == [
        "--use-case=include.use_cases.flight_delay",
        "--date=2026-06-01",
        "--worker=worker_1",
        "--deadline=2026-06-01T06:35:00-04:00",
    ]


def test_a_run_by_hand_without_a_date_is_told_when_its_shift_ends(dags: dict[str, DAG]) -> None:
    words = argv(dags["worker_2"], run_after=new_york("2026-06-01 04:10"))
    assert words[-2:] == ["--worker=worker_2", "--deadline=2026-06-01T05:00:00-04:00"]


@pytest.mark.parametrize("name", NAMES)
def test_the_step_understands_what_it_is_told(name: str, dags: dict[str, DAG]) -> None:
    words = argv(dags[name], data_interval_end=new_york("2026-06-01 06:35"))
    assert words[:2] == ["-m", work.__name__]
    told = parse(work.WorkArguments, words[2:])
    assert told.worker == name
    assert told.deadline == datetime.fromisoformat("2026-06-01T06:35:00-04:00")


def decision(dag: DAG, **left: int) -> RetryDecision:
    """What becomes of a worker that failed with so much of its shift left."""
    end = datetime.now(UTC) + timedelta(**left)
    context = {"dag_run": SimpleNamespace(data_interval_end=end, run_after=None)}
    return task(dag).retry_policy.evaluate(AirflowException("the database went away"), 1, 100, context)


def test_a_worker_that_fails_is_started_again_while_its_shift_is_on(dags: dict[str, DAG]) -> None:
    found = decision(dags["worker_1"], minutes=5)
    assert (found.action, found.retry_delay) == (RetryAction.RETRY, timedelta(seconds=10))


def test_a_worker_that_fails_at_the_end_of_its_shift_has_failed(dags: dict[str, DAG]) -> None:
    """Else its retry would be skipped, and the run would look well."""
    for left in ({"seconds": 20}, {"seconds": 0}, {"hours": -3}):
        found = decision(dags["worker_1"], **left)
        assert found.action is RetryAction.FAIL
        assert "the next one takes up the rest" in found.reason


def test_each_shift_is_an_event_of_the_table_it_wrote(dags: dict[str, DAG]) -> None:
    assert [asset.name for asset in task(dags["worker_1"]).outlets] == ["flight_delay/tables/weather_observations"]
    assert [asset.name for asset in task(dags["worker_2"]).outlets] == ["flight_delay/tables/flights"]


def test_shifts_are_those_of_the_timetable(dags: dict[str, DAG]) -> None:
    timetable = load_timetable(SPEC.package)
    assert timetable is not None
    for name, dag in dags.items():
        assert dag.timetable.shifts == timetable.worker(name).shifts


def test_another_use_case_has_the_workers_of_its_own_timetable_and_no_more() -> None:
    ((spec, timetable),) = timetables({"NIGHTSHIFT_USE_CASES": "tests.use_cases.ice_cream"})
    (worker,) = worker_dags(spec, timetable)
    assert worker.dag_id == "ice_cream_till_worker"
    assert [asset.name for asset in task(worker).outlets] == ["ice_cream/tables/kiosk_sales"]
    assert score_ahead(spec, timetable) is None
