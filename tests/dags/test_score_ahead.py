"""The DAG that scores what is due after each shift of a worker."""

from __future__ import annotations

from datetime import UTC, datetime
from types import SimpleNamespace
from typing import Any

import pendulum
import pytest
from airflow.sdk import DAG

import tests.airflow_home  # noqa: F401 (before anything of Airflow)
from dags.score_ahead import score_ahead
from dags.workers import worker_dags
from include.command_line import parse
from include.ingestion.timetable import load_timetable
from include.steps import score_intraday
from include.use_cases.flight_delay.spec import SPEC


@pytest.fixture
def dag() -> DAG:
    timetable = load_timetable(SPEC.package)
    assert timetable is not None
    found = score_ahead(SPEC, timetable)
    assert found is not None
    return found


def event(shift_end: str) -> SimpleNamespace:
    """What a worker's run leaves behind."""
    return SimpleNamespace(source_dag_run=SimpleNamespace(data_interval_end=new_york(shift_end), run_after=None))


def new_york(text: str) -> pendulum.DateTime:
    moment = pendulum.parse(text, tz="America/New_York")
    assert isinstance(moment, pendulum.DateTime)
    return moment


def told(dag: DAG, task_id: str, **about: Any) -> score_intraday.ScoreIntradayArguments:
    """What a step of a run understands."""
    context: dict[str, Any] = {
        "dag_run": SimpleNamespace(run_after=new_york("2026-06-01 09:00")),
        "params": {"moment": None, "force": False},
        "triggering_asset_events": {},
        **about,
    }
    words = [dag.get_template_env().from_string(word).render(**context) for word in dag.get_task(task_id).arguments[2:]]
    return parse(score_intraday.ScoreIntradayArguments, [word for word in words if not word.endswith("=")])


def test_it_follows_the_table_that_worker_1_writes(dag: DAG) -> None:
    followed = [asset.name for asset in dag.timetable.asset_condition.objects]
    timetable = load_timetable(SPEC.package)
    assert timetable is not None
    worker_1, _ = worker_dags(SPEC, timetable)
    assert followed == [asset.name for asset in worker_1.tasks[0].outlets]


def test_features_come_before_scores(dag: DAG) -> None:
    assert dag.get_task("score_intraday").upstream_task_ids == {"intraday_features"}


@pytest.mark.parametrize("task_id", ["intraday_features", "score_intraday"])
def test_both_steps_look_at_the_end_of_the_shift_they_follow(task_id: str, dag: DAG) -> None:
    arguments = told(dag, task_id, triggering_asset_events={"table": [event("2026-06-01 06:35")]})
    assert arguments.moment == datetime(2026, 6, 1, 10, 35, tzinfo=UTC)
    assert (arguments.horizon, arguments.since) == ("two_hours", datetime(2026, 6, 1, 8, 35, tzinfo=UTC))
    assert not arguments.force


def test_after_several_shifts_at_once_the_newest_counts(dag: DAG) -> None:
    events = {"table": [event("2026-06-01 06:35"), event("2026-06-01 08:35"), event("2026-06-01 04:35")]}
    assert told(dag, "score_intraday", triggering_asset_events=events).moment == new_york("2026-06-01 08:35")


def test_a_run_by_hand_looks_at_now_or_at_the_moment_asked_for(dag: DAG) -> None:
    assert told(dag, "score_intraday").moment == new_york("2026-06-01 09:00")
    asked = {"moment": "2013-10-01T06:35:00-04:00", "force": True}
    arguments = told(dag, "score_intraday", params=asked)
    assert arguments.moment == new_york("2013-10-01 06:35")
    assert arguments.force


@pytest.mark.parametrize(("moment", "day"), [("00:35", "2026-05-31"), ("01:00", "2026-06-01"), ("10:35", "2026-06-01")])
def test_before_one_at_night_the_data_day_is_still_the_day_before(moment: str, day: str, dag: DAG) -> None:
    events = {"table": [event(f"2026-06-01 {moment}")]}
    assert told(dag, "score_intraday", triggering_asset_events=events).date.isoformat() == day


def test_two_looks_at_departures_never_run_at_once(dag: DAG) -> None:
    assert dag.max_active_runs == 1
