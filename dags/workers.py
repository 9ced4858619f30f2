"""The workers, one DAG each: a run a shift. It consumes its topic, writes its table, and ends when its shift does.

What a shift leaves undone (the database was down, the backlog was long) stays in the topic for the next shift.
A run that starts when its shift is over, as in a backfill, is skipped. To work off a backlog between shifts trigger the
DAG by hand: that is an extra shift, which ends before the next begins.
"""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from functools import partial

from airflow.sdk import DAG

from include.ingestion.timetable import PlannedWorker, Timetable
from include.step_specs import WORK
from include.use_case import UseCaseSpec
from plugins.assets import table_asset
from plugins.deployment import timetables
from plugins.pod_operator import StepPod
from plugins.shift_retries import WhileShiftIsOn
from plugins.worker_timetable import WorkerTimetable, shift_end

DEADLINE = "shift_end(dag_run.data_interval_end, dag_run.run_after)"
RETRIES = 100  # the shift ends them, not their number
GRACE = timedelta(minutes=2)  # from a shift's end to the kill of a worker that has not ended by itself


def worker_dag(spec: UseCaseSpec, worker: PlannedWorker) -> DAG:
    """One worker's shifts."""
    length = worker.shifts.duration + GRACE
    with DAG(
        dag_id=f"{spec.name}_{worker.name}",
        dag_display_name=f"{spec.name}: {worker.name.replace('_', ' ')}",
        description=f"Topic {worker.topic} into table {worker.writes}, shift by shift",
        doc_md=__doc__,
        schedule=WorkerTimetable(worker.shifts),
        catchup=False,
        max_active_runs=1,
        dagrun_timeout=length,
        tags=["nightshift", spec.name, "worker"],
        default_args={"owner": spec.owner},
        user_defined_macros={"shift_end": partial(shift_end, worker.shifts)},
    ) as dag:
        StepPod(
            task_id=WORK.name,
            step=replace(WORK, deadline=length),
            use_case=spec.package,
            date=f"{{{{ {DEADLINE}.date() }}}}",
            options={"worker": worker.name, "deadline": f"{{{{ {DEADLINE}.isoformat() }}}}"},
            outlets=[table_asset(spec, worker.writes)],
            doc_md=WORK.summary,
            execution_timeout=length,
            retries=RETRIES,
            retry_policy=WhileShiftIsOn(worker.shifts),
        )
    return dag


def worker_dags(spec: UseCaseSpec, timetable: Timetable) -> list[DAG]:
    """The DAGs of a use case's workers."""
    return [worker_dag(spec, worker) for worker in timetable.workers]


for use_case, timetable in timetables():
    worker_dags(use_case, timetable)
