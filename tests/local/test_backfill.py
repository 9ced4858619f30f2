"""`make backfill`: which runs it asks the running Airflow for, and what it refuses."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from types import SimpleNamespace
from typing import Any

import pytest

from include.errors import SettingsError
from include.storage.lake import days_between
from include.use_case import load_use_case
from local.airflow import SCHEDULER
from local.backfill import backfill

ICE_CREAM = load_use_case("tests.use_cases.ice_cream").spec


@dataclass
class Api:
    """Stands in for Airflow's REST API (the real one was asked by hand): a run exists for each of `there`."""

    there: set[str] = field(default_factory=set)
    paused: bool = False
    under_way: bool = False
    url: str = "http://127.0.0.1:8080"
    asked: list[dict[str, Any]] = field(default_factory=list)

    def call(self, method: str, path: str, body: Any = None) -> Any:
        if path.startswith("/dags/"):
            return {"is_paused": self.paused}
        if method == "GET":
            return {"backfills": [{"completed_at": None if self.under_way else "2026-06-01T00:00:00Z"}]}
        if path.endswith("dry_run"):
            first, last = (datetime.fromisoformat(body[name]).date() for name in ("from_date", "to_date"))
            starts = [ICE_CREAM.day_start(day) for day in days_between(first, last) if str(day) not in self.there]
            return {"backfills": [{"logical_date": start.isoformat()} for start in starts]}
        self.asked.append(body)
        return {}


def services(api: Api, *, running: bool = True) -> Any:
    """As much of the stack as the command touches."""
    return SimpleNamespace(
        stack=SimpleNamespace(use_cases="tests.use_cases.ice_cream"),
        settings=SimpleNamespace(replay=False),
        airflow=api,
        processes=SimpleNamespace(running=lambda name: running and name == SCHEDULER),
    )


def test_the_days_are_midnights_of_the_use_cases_own_zone(capsys: pytest.CaptureFixture[str]) -> None:
    api = Api()
    assert backfill(services(api), "2026-06-01", "2026-06-03", force=False) == 0
    (request,) = api.asked
    assert request["from_date"] == "2026-06-01T00:00:00+02:00"
    assert request["to_date"] == "2026-06-03T00:00:00+02:00"
    assert request["reprocess_behavior"] == "failed"
    lines = capsys.readouterr().out.splitlines()
    assert lines[:3] == [f"run      ice_cream_nightly_training 2026-06-0{day}" for day in (1, 2, 3)]


def test_days_that_have_run_are_named_and_left_alone(capsys: pytest.CaptureFixture[str]) -> None:
    backfill(services(Api(there={"2026-06-02"})), "2026-06-01", "2026-06-03", force=False)
    assert "kept     2026-06-02: their runs exist; FORCE=1" in capsys.readouterr().out


def test_nothing_is_asked_for_where_every_day_has_run() -> None:
    api = Api(there={"2026-06-01"})
    backfill(services(api), "2026-06-01", "2026-06-01", force=False)
    assert api.asked == []


def test_force_runs_every_day_again() -> None:
    api = Api()
    backfill(services(api), "2026-06-01", "2026-06-01", force=True)
    assert (api.asked[0]["reprocess_behavior"], api.asked[0]["dag_run_conf"]) == ("completed", {"force": True})


@pytest.mark.parametrize(
    ("first", "last", "says"),
    [
        ("", "2026-06-03", "no FROM given"),
        ("2026-06-01", "", "no TO given"),
        ("2026-06-1", "2026-06-03", "FROM=2026-06-1: not a date"),
        ("2026-06-03", "2026-06-01", "FROM=2026-06-03 is after TO=2026-06-01"),
        ("2020-01-01", "2026-06-01", "FROM=2020-01-01: outside the data of ice_cream"),
    ],
)
def test_a_range_that_makes_no_sense_is_refused_before_anything_is_asked(first: str, last: str, says: str) -> None:
    api = Api()
    with pytest.raises(SettingsError, match=says):
        backfill(services(api), first, last, force=False)
    assert api.asked == []


@pytest.mark.parametrize(
    ("api", "running", "says"),
    [
        (Api(), False, "start it with `make up` first"),
        (Api(paused=True), True, "is paused: switch it on"),
        (Api(under_way=True), True, "is under way: let it end or cancel it"),
    ],
)
def test_a_backfill_that_nobody_would_work_off_is_refused(api: Api, running: bool, says: str) -> None:
    with pytest.raises(SettingsError, match=says):
        backfill(services(api, running=running), "2026-06-01", "2026-06-03", force=False)
    assert api.asked == []
