"""`make up` says which nights it will run by itself, and there is one every night for the sample."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from local.nights import nights, replay_unless_decided

FLIGHTS, ICE_CREAM = "include.use_cases.flight_delay", "tests.use_cases.ice_cream"
NOW = datetime(2026, 11, 21, 12, tzinfo=UTC)


@pytest.mark.parametrize(
    ("environment", "variables", "expected"),
    [
        ({}, {}, "true"),
        ({"NIGHTSHIFT_REPLAY": ""}, {"nightshift_replay": ""}, "true"),
        ({"NIGHTSHIFT_REPLAY": "false"}, {}, "false"),
        ({}, {"nightshift_replay": "false"}, None),
        ({"NIGHTSHIFT_USE_CASES": ICE_CREAM}, {}, None),
        ({"NIGHTSHIFT_USE_CASES": f"{ICE_CREAM}, {FLIGHTS}"}, {}, "true"),
    ],
)
def test_replay_is_on_for_the_sample_unless_somebody_decided(
    environment: dict[str, str], variables: dict[str, str], expected: str | None
) -> None:
    replay_unless_decided(environment, variables)
    assert environment.get("NIGHTSHIFT_REPLAY") == expected


def test_a_use_case_that_has_no_next_night_says_so() -> None:
    assert list(nights(ICE_CREAM, replay=True, now=NOW)) == [
        "ice_cream: no next night, as its data end with 2026-06-30"
    ]
    [line] = nights(FLIGHTS, replay=False, now=NOW)
    assert line.endswith("2013-12-30; NIGHTSHIFT_REPLAY=true lets its year stand in for later days")


def test_one_that_has_says_until_when() -> None:
    [line] = nights(ICE_CREAM, replay=False, now=datetime(2026, 6, 1, tzinfo=UTC))
    assert line.endswith("up to 2026-06-30")
    first, more = nights(FLIGHTS, replay=True, now=NOW)
    assert "every night; its sample ends with 2013-12-30" in first
    assert "NIGHTSHIFT_REPLAY=false" in more


def test_a_use_case_that_cannot_be_loaded_keeps_the_others_from_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    assert len(list(nights(f"no.such.case,{ICE_CREAM}", replay=False, now=NOW))) == 1
    assert "no.such.case" in capsys.readouterr().out
