"""Arrival delay, a regression: how many minutes late will this flight arrive, as it leaves the gate?"""

from __future__ import annotations

from datetime import date, time

from include.use_case import Horizon, Task, Topic, UseCaseSpec

SPEC = UseCaseSpec(
    name="arrival_delay",
    title="How many minutes late will this flight arrive?",
    owner="tests",
    package="tests.use_cases.arrival_delay",
    timezone="America/New_York",
    day_starts=time(0, 0),
    cron="30 0 * * *",
    first_day=date(2013, 1, 1),
    last_day=date(2013, 12, 30),
    topics=(Topic("flights", known_at="departed_at", outcomes=("arr_delay",)),),
    horizons=(Horizon("at_departure"),),
    examples="flights",
    outcomes="flights",
    key="flight_id",
    task=Task.REGRESSION,
    candidates=("hist_gradient_boosting", "ridge", "as_late_as_others"),
    history_days=15,
    lookback_days=5,
    holdout_days=4,
)
