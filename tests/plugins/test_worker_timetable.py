"""The workers' timetable as Airflow uses it: next runs, runs by hand, backfills, catch-up, over clock changes too."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta
from itertools import pairwise
from typing import Any

import pendulum
import pytest
from airflow import plugins_manager
from airflow.api_fastapi.core_api.datamodels.dag_run import TriggerDAGRunPostBody
from airflow.models.backfill import _get_info_list
from airflow.sdk import DAG
from airflow.serialization.definitions.dag import SerializedDAG
from airflow.serialization.serialized_objects import DagSerialization
from airflow.timetables.base import DagRunInfo, DataInterval, TimeRestriction

import tests.airflow_home  # noqa: F401 (before anything of Airflow)
from include.ingestion.day_plan import nightly_start
from include.ingestion.shift_plan import ShiftPlan
from include.ingestion.timetable import load_timetable
from include.storage.lake import days_between
from include.use_cases.flight_delay.spec import SPEC
from plugins.data_days import DataDays
from plugins.worker_timetable import WorkerTimetable, shift_end

WORKER_1 = ShiftPlan(first="00:20", last="10:20", every="2 h", duration="15 min", zone="America/New_York")
WORKER_2 = ShiftPlan(first="00:00", last="08:00", every="4 h", duration="1 h", zone="America/New_York")
SPRING, AUTUMN = date(2026, 3, 8), date(2026, 11, 1)

At = Callable[[str], None]


def new_york(text: str) -> pendulum.DateTime:
    moment = pendulum.parse(text, tz="America/New_York")
    assert isinstance(moment, pendulum.DateTime)
    return moment


def told(info: DagRunInfo | DataInterval | None) -> str:
    assert info is not None
    interval = info.data_interval if isinstance(info, DagRunInfo) else info
    start, end = (moment.in_timezone("America/New_York") for moment in interval)
    return f"{start:%m-%d %H:%M}{start:%z}..{end:%H:%M}{end:%z}"


@pytest.fixture
def now(monkeypatch: pytest.MonkeyPatch) -> At:
    """Sets the clock that the timetable looks at."""

    def set_clock(text: str) -> None:
        moment = new_york(text)

        class Clock(datetime):
            @classmethod
            def now(cls, tz: object = None) -> Any:
                return moment

        monkeypatch.setattr("plugins.worker_timetable.datetime", Clock)

    return set_clock


def serialised(plan: ShiftPlan, *, catchup: bool = False) -> SerializedDAG:
    """A worker's DAG as scheduler and API server have it: through JSON and back."""
    dag = DAG("worker", schedule=WorkerTimetable(plan), catchup=catchup, start_date=new_york("2026-01-01"))
    return DagSerialization.from_dict(json.loads(json.dumps(DagSerialization.to_dict(dag))))


def following(
    timetable: WorkerTimetable,
    after: DagRunInfo | None,
    *,
    catchup: bool,
    first: str | None = None,
    last: str | None = None,
) -> DagRunInfo | None:
    restriction = TimeRestriction(first and new_york(first), last and new_york(last), catchup)
    return timetable.next_dagrun_info(
        last_automated_data_interval=after and after.data_interval, restriction=restriction
    )


def runs(timetable: WorkerTimetable, first: str, count: int) -> list[DagRunInfo]:
    """The first runs from a moment on, with catch-up."""
    found: list[DagRunInfo] = []
    while len(found) < count:
        info = following(timetable, found[-1] if found else None, catchup=True, first=first)
        assert info is not None
        found.append(info)
    return found


# What Airflow is told


def test_the_plugin_registers_the_timetable_by_the_name_that_dags_import_it_under() -> None:
    assert plugins_manager.get_timetables_plugins()["plugins.worker_timetable.WorkerTimetable"] is WorkerTimetable


def test_it_is_the_same_after_serialisation() -> None:
    back = serialised(WORKER_1).timetable
    assert isinstance(back, WorkerTimetable)
    assert back.shifts == WORKER_1
    assert (back.summary, back.description) == (
        WorkerTimetable(WORKER_1).summary,
        WorkerTimetable(WORKER_1).description,
    )
    moment = new_york("2026-03-08 00:00").isoformat()
    assert [told(info) for info in runs(back, moment, 20)] == [
        told(info) for info in runs(WorkerTimetable(WORKER_1), moment, 20)
    ]


def test_the_ui_shows_when_it_runs_and_for_how_long() -> None:
    timetable = WorkerTimetable(WORKER_2)
    assert timetable.summary == "00:00–08:00 every 4 h for 1 h, America/New_York"  # noqa: RUF001
    assert timetable.description == "Shifts of 1 h at 00:00, 04:00, 08:00 (America/New_York); a run ends with its shift"


def test_many_shifts_fit_the_column_that_airflow_keeps_a_description_in() -> None:
    figures = {"first": "00:00", "last": "23:58", "every": "2 min", "duration": "1 min", "zone": "America/New_York"}
    description = WorkerTimetable(ShiftPlan.model_validate(figures)).description
    assert description.startswith("Shifts of 1 min at 00:00, 00:02, …, 23:58 (America/New_York)")
    assert len(description) < 1000


# Next runs


def test_a_run_starts_with_its_shift_and_its_interval_ends_with_it() -> None:
    first = runs(WorkerTimetable(WORKER_1), "2026-06-01 00:00", 1)[0]
    assert first.run_after == first.logical_date == new_york("2026-06-01 00:20")
    assert first.data_interval == DataInterval(new_york("2026-06-01 00:20"), new_york("2026-06-01 00:35"))


def test_after_the_last_shift_of_a_day_comes_the_first_of_the_next() -> None:
    found = [told(info) for info in runs(WorkerTimetable(WORKER_1), "2026-06-01 08:00", 3)]
    assert found == ["06-01 08:20-0400..08:35-0400", "06-01 10:20-0400..10:35-0400", "06-02 00:20-0400..00:35-0400"]


@pytest.mark.slow
@pytest.mark.parametrize("plan", [WORKER_1, WORKER_2], ids=["worker_1", "worker_2"])
def test_the_scheduler_goes_through_every_shift_of_two_years_once_and_never_two_at_a_time(plan: ShiftPlan) -> None:
    days = days_between(date(2026, 1, 1), date(2027, 12, 31))
    found = runs(WorkerTimetable(plan), "2026-01-01", len(days) * len(plan.clock_times))
    assert [info.run_after for info in found] == [shift.start for day in days for shift in plan.on(day)]
    assert all(earlier.data_interval.end <= later.run_after for earlier, later in pairwise(found))


def test_on_the_day_clocks_go_forward_the_shift_they_skip_is_kept() -> None:
    found = [told(info) for info in runs(WorkerTimetable(WORKER_1), f"{SPRING} 00:00", 6)]
    assert found == [
        "03-08 00:20-0500..00:35-0500",
        "03-08 03:20-0400..03:35-0400",  # 02:20 does not exist
        "03-08 04:20-0400..04:35-0400",
        "03-08 06:20-0400..06:35-0400",
        "03-08 08:20-0400..08:35-0400",
        "03-08 10:20-0400..10:35-0400",
    ]


def test_on_the_day_clocks_go_back_no_shift_comes_twice() -> None:
    found = [told(info) for info in runs(WorkerTimetable(WORKER_1), f"{AUTUMN} 00:00", 7)]
    assert found == [
        "11-01 00:20-0400..00:35-0400",
        "11-01 02:20-0500..02:35-0500",  # three hours later
        "11-01 04:20-0500..04:35-0500",
        "11-01 06:20-0500..06:35-0500",
        "11-01 08:20-0500..08:35-0500",
        "11-01 10:20-0500..10:35-0500",
        "11-02 00:20-0500..00:35-0500",
    ]


def test_without_catchup_the_shift_that_is_on_is_started_late(now: At) -> None:
    now("2026-06-01 06:25")
    assert told(following(WorkerTimetable(WORKER_1), None, catchup=False)) == "06-01 06:20-0400..06:35-0400"


def test_without_catchup_a_shift_that_is_over_is_not_started(now: At) -> None:
    timetable = WorkerTimetable(WORKER_1)
    last = runs(timetable, "2026-05-20 00:00", 1)[0]
    now("2026-06-01 06:35")
    assert told(following(timetable, last, catchup=False)) == "06-01 08:20-0400..08:35-0400"


def test_without_catchup_a_shift_that_has_its_run_gets_no_second(now: At) -> None:
    timetable = WorkerTimetable(WORKER_1)
    this = runs(timetable, "2026-06-01 06:20", 1)[0]
    now("2026-06-01 06:25")
    assert told(following(timetable, this, catchup=False)) == "06-01 08:20-0400..08:35-0400"


def test_with_catchup_every_missed_shift_gets_its_run(now: At) -> None:
    timetable = WorkerTimetable(WORKER_1)
    last = runs(timetable, "2026-05-20 00:20", 1)[0]
    now("2026-06-01 06:25")
    assert told(following(timetable, last, catchup=True)) == "05-20 02:20-0400..02:35-0400"


def test_no_run_lies_outside_the_dags_dates(now: At) -> None:
    timetable = WorkerTimetable(WORKER_1)
    now("2026-06-01 06:25")
    assert told(following(timetable, None, catchup=False, first="2026-07-01")) == "07-01 00:20-0400..00:35-0400"
    assert following(timetable, None, catchup=False, last="2026-06-01 06:00") is None
    assert following(timetable, None, catchup=True) is None


def test_a_changed_timetable_goes_on_after_the_last_run_of_the_old_one() -> None:
    """The old shift of an hour ends at 01:00, within which the new one would have begun."""
    last = runs(WorkerTimetable(WORKER_2), "2026-06-01 00:00", 1)[0]
    info = following(WorkerTimetable(WORKER_1), last, catchup=True)
    assert told(info) == "06-01 02:20-0400..02:35-0400"


# Runs by hand, and backfills, as the API makes them


@pytest.mark.parametrize(
    ("moment", "interval"),
    [
        ("2026-06-01 06:31", "06-01 06:20-0400..06:35-0400"),
        ("2026-06-01 13:00", "06-01 13:00-0400..13:15-0400"),
        ("2026-06-01 08:12", "06-01 08:12-0400..08:20-0400"),
        ("2026-03-08 03:25", "03-08 03:20-0400..03:35-0400"),
        ("2026-03-08 01:50", "03-08 01:50-0500..03:05-0400"),
        ("2026-11-01 00:30", "11-01 00:20-0400..00:35-0400"),
    ],
    ids=[
        "in a shift",
        "between shifts",
        "just before one",
        "in the moved one",
        "over the gap",
        "before the repeated hour",
    ],
)
def test_a_run_by_hand_takes_the_shift_that_is_on_or_an_extra_one(moment: str, interval: str) -> None:
    body = TriggerDAGRunPostBody.model_validate({"logical_date": new_york(moment).isoformat()})
    assert told(body.validate_context(serialised(WORKER_1))["data_interval"]) == interval


def test_the_two_hours_that_clocks_show_as_one_are_told_apart() -> None:
    first, second = (datetime(2026, 11, 1, hour, 30, tzinfo=UTC) for hour in (5, 6))  # 01:30 EDT, 01:30 EST
    timetable = WorkerTimetable(WORKER_1)
    found = [told(timetable.infer_manual_data_interval(run_after=pendulum.instance(at))) for at in (first, second)]
    assert found == ["11-01 01:30-0400..01:45-0400", "11-01 01:30-0500..01:45-0500"]


def test_a_run_by_hand_without_a_date_has_the_deadline_of_its_shift() -> None:
    assert shift_end(WORKER_1, None, new_york("2026-06-01 06:31")) == new_york("2026-06-01 06:35")
    assert shift_end(WORKER_1, None, new_york("2026-06-01 13:00")).isoformat() == "2026-06-01T13:15:00-04:00"


def test_a_runs_deadline_is_its_shifts_end_on_the_zones_clocks() -> None:
    info = runs(WorkerTimetable(WORKER_2), "2026-06-01 04:00", 1)[0]
    assert shift_end(WORKER_2, info.data_interval.end, info.run_after).isoformat() == "2026-06-01T05:00:00-04:00"


@pytest.mark.parametrize(
    ("day", "hours"),
    [(SPRING, "00 03 04 06 08 10"), (date(2026, 6, 1), "00 02 04 06 08 10"), (AUTUMN, "00 02 04 06 08 10")],
)
def test_a_backfill_of_a_day_has_its_shifts_whatever_clocks_do(day: date, hours: str) -> None:
    begin = new_york(f"{day} 00:00")
    end = begin.add(days=1).subtract(seconds=1)
    found = _get_info_list(from_date=begin, to_date=end, reverse=False, dag=serialised(WORKER_1))
    assert [f"{info.data_interval.start.in_timezone('America/New_York'):%H}" for info in found] == hours.split()
    assert all(info.data_interval.end - info.data_interval.start == timedelta(minutes=15) for info in found)
    assert all(info.logical_date == info.data_interval.start for info in found)


def test_a_backfill_has_no_shift_that_is_not_over() -> None:
    begin = pendulum.now("UTC").subtract(days=2)
    found = _get_info_list(
        from_date=begin, to_date=pendulum.now("UTC").add(days=2), reverse=False, dag=serialised(WORKER_1)
    )
    assert found
    assert all(info.data_interval.end < pendulum.now("UTC") for info in found)


# The plan of the day is what Airflow does


def test_nightly_training_starts_when_the_plan_of_the_day_says() -> None:
    timetable = DataDays(SPEC.cron, SPEC.timezone, date(2026, 1, 1), date(2027, 12, 31))
    last, found = None, []
    while info := timetable.next_dagrun_info(
        last_automated_data_interval=last, restriction=TimeRestriction(new_york("2026-01-01"), None, True)
    ):
        last = info.data_interval
        found.append(info.run_after)
    assert len(found) > 700
    assert found == [nightly_start(SPEC, at.in_timezone(SPEC.timezone).date()) for at in found]


def test_the_dags_of_the_workers_are_scheduled_by_the_yaml() -> None:
    timetable = load_timetable(SPEC.package)
    assert timetable is not None
    assert [worker.shifts for worker in timetable.workers] == [WORKER_1, WORKER_2]
