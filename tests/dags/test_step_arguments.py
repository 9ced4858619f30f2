"""Every step understands what its task says to it."""

from __future__ import annotations

import importlib
from datetime import date
from types import SimpleNamespace
from typing import Any

import pytest
from airflow.dag_processing.dagbag import DagBag
from airflow.sdk import DAG

from include.command_line import parse
from include.step import StepArguments
from include.step_specs import NIGHTLY, ROLLBACK, StepSpec
from include.use_cases.flight_delay.spec import SPEC
from plugins.data_days import data_day
from plugins.pod_operator import BLANK

DEFAULTS: dict[str, Any] = {"date": None, "force": False, "candidates": [], "version": None}


def is_arguments(found: object) -> bool:
    """Whether that is a model of a step's command line."""
    return isinstance(found, type) and issubclass(found, StepArguments)


def arguments_of(dag: DAG, step: StepSpec, *, scheduled: bool = True, **asked: Any) -> Any:
    """What a step makes of its task's rendered command line."""
    task = dag.task_dict[step.name]
    task = task.unmap({"candidate": "historical_rates"}) if task.is_mapped else task
    due = SPEC.day_end(date(2013, 10, 1))
    known = {
        "params": SimpleNamespace(**DEFAULTS | asked),
        "dag_run": SimpleNamespace(run_after=due, data_interval_end=due if scheduled else None),
        "data_day": lambda *when: data_day(SPEC, *when),
        "zone": SPEC.zone,
    }
    rendered = [task.render_template(word, known) for word in task.arguments]
    assert rendered[:2] == ["-m", step.module]
    module = importlib.import_module(step.module)
    (model,) = (
        one for one in vars(module).values() if getattr(one, "__module__", "") == step.module and is_arguments(one)
    )
    return parse(model, [word for word in rendered[2:] if not BLANK.fullmatch(word)])


@pytest.mark.parametrize("step", NIGHTLY, ids=lambda step: step.name)
def test_a_nightly_step_understands_its_task(nightly: DAG, step: StepSpec) -> None:
    plain = arguments_of(nightly, step)
    assert (plain.use_case, plain.date, plain.force) == ("include.use_cases.flight_delay", date(2013, 10, 1), False)
    asked = arguments_of(nightly, step, date="2013-05-05", force=True, candidates=["historical_rates", "x"])
    assert (asked.date, asked.force) == (date(2013, 5, 5), True)
    if step.name == "train":
        assert (plain.candidate, plain.candidates) == ("historical_rates", "")
        assert asked.candidates == "historical_rates,x"


def test_a_run_by_hand_without_a_logical_date_has_no_interval_and_takes_the_newest_day(nightly: DAG) -> None:
    """Airflow leaves `data_interval_end` undefined then; the run itself is always there to ask."""
    assert arguments_of(nightly, NIGHTLY[0], scheduled=False).date == date(2013, 10, 1)


def test_rollback_understands_its_task(bag: DagBag) -> None:
    dag = bag.dags["flight_delay_rollback"]
    assert arguments_of(dag, ROLLBACK).version == ""
    assert arguments_of(dag, ROLLBACK, version="12").version == "12"
    assert arguments_of(dag, ROLLBACK).date == date(2013, 10, 2), "the day on which it is called"
