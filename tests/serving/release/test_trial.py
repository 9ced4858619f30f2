from __future__ import annotations

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from formats.release import OnTrial
from formats.request_rows import RequestModel
from formats.rollout_plan import Phase, Plan
from serving.release.served import Served
from serving.release.trial import Trial, takes_part
from tests.portable_files import INPUTS, portable_bytes
from tests.serving.release.rehearsal import ROWS, model, version

SALT = st.text("0123456789abcdef", min_size=32, max_size=32)
KEY = st.text(max_size=40) | st.binary(max_size=40)
BODY = json.dumps({"rows": ROWS[:20]}).encode()


def on_trial(phase: Phase = Phase.CANARY, share: float = 1.0, **plan: int) -> OnTrial:
    return OnTrial(id="t", entry=version(8), plan=Plan(**plan), phase=phase, share=share)


def trial(wanted: OnTrial | None = None, on: RequestModel | None = None) -> Trial:
    """Version 8 beside version 7, at second 0 of a trial that lasts 10."""
    found = Trial(wanted or on_trial(), Served(version(7), model(7)), on or model(8), clock=lambda: 0.0)
    found.until = 10.0
    return found


def test_a_shadow_takes_no_request_and_a_whole_canary_all() -> None:
    assert not trial(on_trial(Phase.SHADOW, 0.0)).takes(b"anybody")
    assert trial().takes(b"anybody")


@pytest.mark.parametrize("key", [b"somebody", b""])
def test_a_trial_whose_time_is_up_takes_nothing(key: bytes) -> None:
    over = trial()
    over.until = 0.0

    assert not over.takes(key)


def test_requests_without_a_key_are_shared_too() -> None:
    half = trial(on_trial(share=0.5))

    assert 300 < sum(half.takes(b"") for _ in range(1000)) < 700


def test_both_versions_requests_and_failures_are_counted_and_nobody_elses() -> None:
    watched = trial()
    watched.note(watched.proven, model(7).rows(ROWS[:2]), 0.001)
    watched.note(watched.served, model(8).rows(ROWS[:3]), 0.001)
    watched.note(watched.served, None, 0.001)
    watched.note(Served(version(6), model(6)), model(6).rows(ROWS), 0.001)

    both = watched.tally.answered
    assert (both.proven.requests, both.proven.rows, both.proven.failures) == (1, 2, 0)
    assert (both.trial.requests, both.trial.rows, both.trial.failures) == (2, 3, 1)


def test_enough_rows_are_compared_and_then_no_more() -> None:
    watched = trial(on_trial(Phase.SHADOW, 0.0, shadow_rows=30))

    asked = 0
    while watched.wants_rows():
        watched.compare(BODY)
        asked += 1

    assert (asked, watched.tally.compared.trial.rows) == (2, 40)


def test_counts_begin_again_with_the_next_phase_and_not_within_one() -> None:
    watched = trial(on_trial(Phase.SHADOW, 0.0))
    watched.compare(BODY)
    watched.enter(on_trial(Phase.SHADOW, 0.0))
    assert watched.tally.compared.trial.rows == 20

    watched.enter(on_trial())
    assert watched.tally.compared.trial.rows == 0


def test_versions_with_other_inputs_are_not_compared_on_requests() -> None:
    distance, hour, carrier = INPUTS
    other = RequestModel.load(portable_bytes(inputs=(distance, hour, {**carrier, "name": "airline"})))

    assert not trial(on=other).wants_rows()


# The split


@given(key=KEY, salt=SALT, share=st.floats(0, 1))
def test_one_caller_is_always_on_one_side(key: str | bytes, salt: str, share: float) -> None:
    assert len({takes_part(key, salt, share) for _ in range(3)}) == 1


@given(key=KEY, salt=SALT, shares=st.lists(st.floats(0, 1), min_size=2, max_size=5))
def test_whoever_takes_part_at_a_small_share_does_at_a_greater_one(
    key: str | bytes, salt: str, shares: list[float]
) -> None:
    sides = [takes_part(key, salt, share) for share in sorted(shares)]

    assert sides == sorted(sides)


@given(key=KEY, salt=SALT)
def test_no_share_is_nobody_and_the_whole_is_everybody(key: str | bytes, salt: str) -> None:
    assert not takes_part(key, salt, 0)
    assert takes_part(key, salt, 1)


@settings(max_examples=40, deadline=None)
@given(salt=SALT, share=st.floats(0.01, 0.99), prefix=st.text(max_size=8))
def test_the_share_is_kept_whatever_the_callers_are_called(salt: str, share: float, prefix: str) -> None:
    # Six standard deviations of a binomial share: a fair split breaks this about once in a billion.
    callers = 4_000
    found = sum(takes_part(f"{prefix}{number}", salt, share) for number in range(callers)) / callers

    assert abs(found - share) <= 6 * (share * (1 - share) / callers) ** 0.5


def test_other_callers_take_part_in_the_next_trial() -> None:
    keys = [f"caller-{number}" for number in range(1000)]
    first, second = ({key for key in keys if takes_part(key, salt, 0.2)} for salt in ("a" * 32, "b" * 32))

    assert len(first & second) < 0.5 * len(first)
