"""Ice cream, the smallest use case that is one: will this kiosk sell out tomorrow?"""

from __future__ import annotations

from datetime import date, time

from include.use_case import Horizon, Topic, UseCaseSpec

SPEC = UseCaseSpec(
    name="ice_cream",
    title="Will this kiosk sell out tomorrow?",
    owner="tests",
    package="tests.use_cases.ice_cream",
    timezone="Europe/Rome",
    day_starts=time(0, 0),
    cron="30 0 * * *",
    first_day=date(2026, 5, 1),
    last_day=date(2026, 6, 30),
    topics=(Topic("plans", day_offset=1), Topic("sales")),
    horizons=(Horizon("morning", day_offset=1),),
    examples="plans",
    outcomes="sales",
    key="kiosk_day",
    candidates=("hist_gradient_boosting", "historical_rates"),
    history_days=40,
    lookback_days=7,
    holdout_days=7,
    carried=("kiosk", "forecast"),
)
