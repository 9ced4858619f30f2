from __future__ import annotations

import numpy as np
import pytest

from formats.answers.measured import by_level
from formats.comparison import Pair, psi
from formats.rollout_plan import Limits
from include.deployment import limits
from tests.sides import side

LIMITS = Limits()


def spread_over(low: float, high: float, rows: int = 500) -> list[float]:
    return np.linspace(low, high, rows).tolist()


def pair_of(before: list[float], after: list[float]) -> Pair:
    """Both versions' answers to the same rows."""
    return Pair(side(before), side(after), moved=float(np.abs(np.subtract(before, after)).sum()))


def test_two_good_versions_pass() -> None:
    pair = pair_of(spread_over(0.05, 0.5), spread_over(0.08, 0.55))

    assert limits.distribution(pair, LIMITS) == []
    assert limits.latency(pair, LIMITS) == []
    assert limits.failures(pair.trial, LIMITS, 1) == []


@pytest.mark.parametrize(
    ("answers", "says"),
    [
        (spread_over(0.5, 0.95), "its answers are distributed differently: PSI "),
        (spread_over(0.5, 0.95), "its mean answer moved by 0.450 (0.275 to 0.725), at most 0.2"),
        ([0.275] * 500, "it hardly tells rows apart: standard deviation 0.0000, it was 0.13"),
    ],
)
def test_what_is_different_about_a_version_is_said(answers: list[float], says: str) -> None:
    found = limits.distribution(pair_of(spread_over(0.05, 0.5), answers), LIMITS)

    assert any(line.startswith(says) for line in found), found


def test_answers_that_hardly_differ_are_alike_however_the_bins_fall() -> None:
    # Given one row, asked again and again, whose answer crossed the edge of a bin
    pair = pair_of([0.0999] * 500, [0.1001] * 500)

    assert psi(pair) > LIMITS.psi
    assert limits.distribution(pair, LIMITS) == []


def test_how_often_a_version_fails_is_said() -> None:
    assert limits.failures(side([0.5], failures=1), LIMITS, 20) == ["1 of 2 answers failed, at most 1.0% may"]
    assert limits.failures(side(*[[0.5]] * 199, failures=1), LIMITS, 20) == []


def test_slow_is_what_takes_many_times_as_long_and_long_enough_to_notice() -> None:
    fast, slow = side([0.5], seconds=0.001), side([0.5], seconds=0.2)

    assert "it is too slow: " in limits.latency(Pair(fast, slow), LIMITS)[0]
    assert limits.latency(Pair(slow, fast), LIMITS) == []
    assert limits.latency(Pair(fast, side([0.5], seconds=0.01)), LIMITS) == []
    assert limits.latency(Pair(slow, side([0.5], seconds=0.3)), LIMITS) == []


def test_a_slow_tail_is_noticed() -> None:
    tail = side(*[[0.5]] * 90)
    for _ in range(10):
        tail.note(by_level(np.array([0.5])), 1.0)

    assert "at the 95% quantile" in limits.latency(Pair(side(*[[0.5]] * 100), tail), LIMITS)[0]
