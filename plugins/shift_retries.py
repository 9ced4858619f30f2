"""When a failed worker is started again: while its shift lasts."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

from airflow.sdk.definitions.retry_policy import RetryDecision, RetryPolicy

from include.ingestion.shift_plan import ShiftPlan
from plugins.worker_timetable import shift_end

if TYPE_CHECKING:
    from airflow.sdk import Context

PAUSE = timedelta(seconds=10)  # before the first retry; each further one waits twice as long
LONGEST_PAUSE = timedelta(minutes=1)
START = timedelta(seconds=20)  # what a pod takes to start


class WhileShiftIsOn(RetryPolicy):  # type: ignore[misc]
    """Retries while the shift has enough time left; otherwise the failure stays visible.

    (A late retry would find its shift over and be skipped, and the run would look fine.)
    """

    def __init__(self, shifts: ShiftPlan) -> None:
        self.shifts = shifts

    def evaluate(
        self, exception: BaseException, try_number: int, max_tries: int, context: Context | None = None
    ) -> RetryDecision:
        """Retry after a pause, or fail with the reason."""
        if context is None:
            return RetryDecision.default()
        run = context["dag_run"]
        end = shift_end(self.shifts, run.data_interval_end, run.run_after)
        pause = min(PAUSE * 2 ** min(try_number - 1, 10), LONGEST_PAUSE)
        if datetime.now(UTC) + pause + START >= end:
            return RetryDecision.fail(f"the shift ends {end.isoformat()}; the next one takes up the rest")
        return RetryDecision.retry(pause)
