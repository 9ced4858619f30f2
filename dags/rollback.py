"""Rollback, one DAG per use case: put the previously served model, or a named version, back into service."""

from __future__ import annotations

from datetime import timedelta

from airflow.sdk import DAG, Param

from include.step_specs import ROLLBACK
from include.use_case import UseCaseSpec
from plugins.deployment import use_cases
from plugins.pod_operator import StepPod


def rollback(spec: UseCaseSpec) -> DAG:
    """The use case's rollback; started by hand only."""
    with DAG(
        dag_id=f"{spec.name}_rollback",
        dag_display_name=f"{spec.name}: rollback",
        description="Put the previously served model back into service",
        doc_md=__doc__,
        schedule=None,
        catchup=False,
        max_active_runs=1,
        tags=["nightshift", spec.name],
        default_args={"owner": spec.owner},
        params={
            "version": Param(
                None,
                type=["null", "string"],
                pattern="^[0-9]+$",
                title="Version",
                description="The model version to serve. Empty: the one served before the present one.",
            )
        },
        user_defined_macros={"zone": spec.zone},
    ) as dag:
        StepPod(
            task_id=ROLLBACK.name,
            step=ROLLBACK,
            use_case=spec.package,
            date="{{ dag_run.run_after.astimezone(zone).date().isoformat() }}",
            options={"version": "{{ params.version or '' }}"},
            doc_md=ROLLBACK.summary,
            retries=2,
            retry_delay=timedelta(seconds=5),
        )
    return dag


for use_case in use_cases():
    rollback(use_case)
