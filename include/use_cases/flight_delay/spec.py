"""Flight delay, as the DAG sees it: will a flight out of New York arrive more than 15 minutes late?"""

from __future__ import annotations

from datetime import date, time

from include.use_case import Horizon, Topic, UseCaseSpec

SPEC = UseCaseSpec(
    name="flight_delay",
    title="Will this flight arrive more than 15 minutes late?",
    owner="nightshift",
    package="include.use_cases.flight_delay",
    timezone="America/New_York",
    day_starts=time(1, 0),
    cron="15 1 * * *",
    first_day=date(2013, 1, 1),
    last_day=date(2013, 12, 30),
    topics=(
        Topic("schedule", day_offset=1),
        Topic(
            "flights",
            late={
                "departed_at": "departed_at",
                "dep_delay": "departed_at",
                "arrived_at": "arrived_at",
                "arr_delay": "arrived_at",
            },
        ),
        Topic("weather", known_at="known_at"),
    ),
    horizons=(Horizon("nightly", day_offset=1), Horizon("two_hours")),
    examples="schedule",
    outcomes="flights",
    key="flight_id",
    candidates=("hist_gradient_boosting", "logistic_regression", "historical_rates"),
    history_days=272,
    lookback_days=28,
    holdout_days=28,
    carried=("carrier", "flight", "tailnum", "origin", "dest", "scheduled_departure"),
    replays=True,
)
