"""Nightly training, one DAG per use case: the chain of steps that `NIGHTLY` names.

Each task is a pod; what a use case is comes from its `spec.py`, what a step is from `include/step_specs.py`.
"""

from __future__ import annotations

from datetime import timedelta
from functools import partial
from typing import Any

from airflow.sdk import DAG, Param, TriggerRule, chain

from include.step_specs import CHOOSE, NIGHTLY, TRAIN, StepSpec
from include.use_case import UseCaseSpec
from plugins.assets import written
from plugins.data_days import DataDays, data_day
from plugins.deployment import replay, use_cases
from plugins.pod_operator import StepPod

DATE = "{{ data_day(params.date, dag_run.data_interval_end, dag_run.run_after) }}"
ABOUT = """## {title}

One run for each data day, due when that day is over ({cron}, {timezone}). It takes what is there and makes what is not:

{steps}; *train* is a task for each candidate.

- **Trigger** it for any day from {first} on; leave the form empty for the newest day that is over.
- **Backfill** any range, in any order. An old day never replaces what is served.
- A task that fails for bad data or wrong settings is not tried again; its log ends with the one line that says why.
- **Data Docs** of a day: the link of its *validate* task. What each step does: the documentation of its task.
"""
FORCE = "{{ 'true' if params.force else '' }}"
CANDIDATES = "{{ (params.candidates or []) | join(',') }}"

RETRIES: dict[str, Any] = {
    "retries": 3,
    "retry_delay": timedelta(seconds=10),
    "retry_exponential_backoff": 2,
    "max_retry_delay": timedelta(minutes=5),
}


def params(spec: UseCaseSpec) -> dict[str, Param]:
    """What a person may choose when triggering a run by hand."""
    return {
        "date": Param(
            None,
            type=["null", "string"],
            format="date",
            title="Data day",
            description="The day to run for. Empty: the newest day that is over at the run's own date; "
            "in a backfill leave it empty, each run has its own.",
        ),
        "force": Param(
            False,
            type="boolean",
            title="Do it again",
            description="Compute and publish again what is already published.",
        ),
        "candidates": Param(
            [],
            type=["null", "array"],  # the form sends null once all are removed again
            items={"type": "string", "enum": list(spec.candidates)},
            examples=list(spec.candidates),
            title="Candidates",
            description="Train only these. Empty: all.",
        ),
    }


def task(spec: UseCaseSpec, step: StepSpec) -> Any:
    """One step of the run (a `StepPod`); training is mapped, a task for each candidate."""
    about: dict[str, Any] = {
        "task_id": step.name,
        "step": step,
        "use_case": spec.package,
        "date": DATE,
        "doc_md": f"{step.summary}\n\n`python -m {step.module}` in image `{step.image}`, at most {step.deadline}.",
    }
    if step == TRAIN:
        mapped = StepPod.partial(
            **about,
            options={"force": FORCE, "candidates": CANDIDATES},
            map_index_template="{{ task.candidate }}",
            pool=step.pool.value,
            execution_timeout=step.timeout,
            **RETRIES,
        )
        return mapped.expand(candidate=list(spec.candidates))
    rule = TriggerRule.NONE_FAILED_MIN_ONE_SUCCESS if step == CHOOSE else TriggerRule.ALL_SUCCESS
    return StepPod(**about, options={"force": FORCE}, outlets=written(spec, step), trigger_rule=rule, **RETRIES)


def nightly_training(spec: UseCaseSpec) -> DAG:
    """The use case's nightly run, due when its data day is over."""
    with DAG(
        dag_id=f"{spec.name}_nightly_training",
        dag_display_name=f"{spec.name}: nightly training",
        description=spec.title,
        doc_md=ABOUT.format(
            title=spec.title,
            cron=spec.cron,
            timezone=spec.timezone,
            first=spec.first_day,
            steps=" → ".join(f"**{step.name}**" for step in NIGHTLY),
        ),
        schedule=DataDays(
            spec.cron, spec.timezone, spec.first_day, None if spec.replays and replay() else spec.last_day
        ),
        catchup=False,
        max_active_runs=2,
        dagrun_timeout=timedelta(hours=4),
        tags=["nightshift", spec.name],
        default_args={"owner": spec.owner},
        params=params(spec),
        user_defined_macros={"data_day": partial(data_day, spec)},
    ) as dag:
        chain(*(task(spec, step) for step in NIGHTLY))
    return dag


for use_case in use_cases():
    nightly_training(use_case)
