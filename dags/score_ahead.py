"""After each shift of one worker: predictions for what is due next, as the timetable's `scoring` names them.

It follows the table that the worker writes; after a shift that fails nothing is scored. The moment looked at is the
shift's end. Triggered by hand it looks at now, or at any past moment, and finds what would have been found then.
"""

from __future__ import annotations

from datetime import timedelta
from functools import partial

from airflow.sdk import DAG, Param, chain

from include.ingestion.shift_plan import span_text
from include.ingestion.timetable import Timetable
from include.step_specs import INTRADAY_FEATURES, SCORE_INTRADAY
from include.use_case import UseCaseSpec
from plugins.assets import table_asset, written
from plugins.deployment import timetables
from plugins.moment import data_day_at, moment
from plugins.pod_operator import StepPod

MOMENT = "moment(params.moment, triggering_asset_events, dag_run.run_after)"


def score_ahead(spec: UseCaseSpec, timetable: Timetable) -> DAG | None:
    """The DAG that makes predictions within the day; None where the timetable asks for none."""
    scoring = timetable.scoring
    if scoring is None:
        return None
    with DAG(
        dag_id=f"{spec.name}_{scoring.name}",
        dag_display_name=f"{spec.name}: {scoring.name.replace('_', ' ')}",
        description=f"After each shift of {scoring.follows}, what is due in the next {span_text(scoring.ahead)}",
        doc_md=__doc__,
        schedule=[table_asset(spec, timetable.worker(scoring.follows).writes)],
        catchup=False,
        max_active_runs=1,
        dagrun_timeout=timedelta(minutes=30),
        tags=["nightshift", spec.name],
        default_args={"owner": spec.owner},
        params={
            "moment": Param(
                None,
                type=["null", "string"],
                format="date-time",
                title="Moment",
                description="When to look at what is due. Empty: the end of the shift it follows, or now.",
            ),
            "force": Param(False, type="boolean", title="Do it again", description="Publish again what is published."),
        },
        user_defined_macros={"moment": moment, "data_day_at": partial(data_day_at, spec)},
    ) as dag:
        options = {
            "horizon": scoring.horizon,
            "moment": f"{{{{ {MOMENT}.isoformat() }}}}",
            "ahead": span_text(scoring.ahead),
            "force": "{{ 'true' if params.force else '' }}",
        }
        chain(
            *(
                StepPod(
                    task_id=step.name,
                    step=step,
                    use_case=spec.package,
                    date=f"{{{{ data_day_at({MOMENT}) }}}}",
                    options=options,
                    outlets=written(spec, step),
                    doc_md=step.summary,
                    retries=2,
                    retry_delay=timedelta(seconds=10),
                )
                for step in (INTRADAY_FEATURES, SCORE_INTRADAY)
            )
        )
    return dag


for use_case, timetable in timetables():
    score_ahead(use_case, timetable)
