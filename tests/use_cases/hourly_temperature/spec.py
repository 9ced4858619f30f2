"""Hourly temperature: how warm will each hour of tomorrow be? Rows are hourly, partitions daily."""

from __future__ import annotations

from datetime import date, time

from include.use_case import Horizon, Task, Topic, UseCaseSpec

SPEC = UseCaseSpec(
    name="hourly_temperature",
    title="How warm will it be in each hour of tomorrow?",
    owner="tests",
    package="tests.use_cases.hourly_temperature",
    timezone="America/New_York",
    day_starts=time(0, 0),
    cron="30 0 * * *",
    first_day=date(2013, 1, 1),
    last_day=date(2013, 12, 29),
    topics=(Topic("hours", day_offset=1, outcomes=("temperature",)),),
    horizons=(Horizon("evening_before", day_offset=1),),
    examples="hours",
    outcomes="hours",
    key="hour_id",
    task=Task.REGRESSION,
    candidates=("hist_gradient_boosting", "like_yesterday"),
    carried=("airport", "hour"),
    history_days=20,
    lookback_days=3,
    holdout_days=6,
)
