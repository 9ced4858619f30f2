"""A spec that is made can be run: what could not be is refused by the name of its field."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, date, datetime, time
from typing import Any

import pytest
from croniter import croniter
from hypothesis import example, given
from hypothesis import strategies as st

from include.errors import SettingsError
from include.use_case import Horizon, Topic, UseCaseSpec
from tests.use_cases.ice_cream.spec import SPEC

CRON_PART = st.from_regex(r"\A(\*|[0-9]{1,2}|[a-z]{3}|[0-9]{1,2}-[0-9]{1,2})(/[0-9]{1,2})?(,[0-9]{1,2})?\Z")


@given(st.lists(CRON_PART, min_size=4, max_size=6).map(" ".join))
@example("15 1 * * *")
@example("59 23 31 12 7")
@example("0 0 * jan-mar mon,fri")
def test_a_cron_that_is_taken_is_one_that_airflow_takes_and_runs_once_a_day_at_most(cron: str) -> None:
    try:
        spec = replace(SPEC, cron=cron)
    except SettingsError as error:
        assert str(error).startswith(f"cron={cron!r}: ")
        return
    assert croniter.is_valid(spec.cron)
    minutes, hours, *_ = croniter(spec.cron).expanded
    assert len(minutes) == len(hours) == 1 and {"*"}.isdisjoint((*minutes, *hours))


@pytest.mark.parametrize(
    ("field", "value", "said"),
    [
        ("name", "Ice Cream", "is no name for a folder"),
        ("name", None, "is a NoneType; write a str"),
        ("owner", " ", "is empty"),
        ("timezone", "Mars/Olympus", "is no time zone"),
        ("timezone", "../etc/passwd", "is no time zone"),
        ("timezone", "", "is no time zone"),
        ("day_starts", time(0, tzinfo=UTC), "has a zone of its own"),
        ("day_starts", "00:00", "is a str; write a time"),
        ("first_day", datetime(2026, 5, 1), "is a datetime; write a date"),
        ("last_day", date(2026, 4, 1), "is before first_day"),
        ("topics", (), "is empty"),
        ("topics", [Topic("plans", 1), Topic("sales")], "is a list; write a tuple"),
        ("topics", (Topic("plans", 1), Topic("sales"), Topic("sales")), "sales is there twice"),
        ("outcomes", "plans", "is the topic of the examples too; name the outcome's columns"),
        ("candidates", (), "is empty; name at least one"),
        ("candidates", ("a", "a"), "a is there twice"),
        ("candidates", ("a b",), "is no name for a task"),
        ("candidates", ("a", 1), "holds more than texts"),
        ("history_days", True, "is a bool; write a int"),
        ("lookback_days", -1, "write a number of days, 0 to 36500"),
        ("holdout_days", 0, "write a number of days, 1 to 36500"),
    ],
)
def test_a_value_that_cannot_be_is_refused_by_its_field(field: str, value: Any, said: str) -> None:
    with pytest.raises(SettingsError) as caught:
        replace(SPEC, **{field: value})
    assert str(caught.value).startswith(f"{field}=") and said in str(caught.value)
    assert "\n" not in str(caught.value)


def test_outcomes_that_are_published_ahead_are_refused() -> None:
    with pytest.raises(SettingsError, match="outcomes='sales': is published ahead"):
        replace(SPEC, topics=(Topic("plans", 1), Topic("sales", 1)))


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda: Topic("a/b"), "topic 'a/b': name: is no name"),
        (lambda: Topic("a", -1), "topic 'a': day_offset=-1"),
        (lambda: Topic("a", known_at=7), "topic: known_at=7: is a int"),  # type: ignore[arg-type]
        (lambda: Topic("a", late={"b": 1}), "topic: late="),  # type: ignore[dict-item]
        (lambda: Horizon("a", "1"), "horizon: day_offset='1': is a str"),  # type: ignore[arg-type]
        (lambda: Horizon("Noon"), "horizon 'Noon': name"),
    ],
)
def test_a_topic_or_a_horizon_that_cannot_be_is_refused(make: Any, said: str) -> None:
    with pytest.raises(SettingsError) as caught:
        make()
    assert str(caught.value).startswith(said)


def test_the_partitions_of_a_day_are_those_that_its_run_has() -> None:
    spec: UseCaseSpec = replace(SPEC, lookback_days=1, first_day=date(2026, 5, 1))
    found = list(spec.readable(spec.horizons[0], date(2026, 6, 2)))
    assert found == [
        ("plans", date(2026, 6, 1)),
        ("plans", date(2026, 6, 2)),
        ("sales", date(2026, 6, 1)),
    ]
    assert list(spec.readable(spec.horizons[0], date(2026, 5, 1))) == [("plans", date(2026, 5, 1))]
