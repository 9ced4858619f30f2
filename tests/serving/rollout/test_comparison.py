from __future__ import annotations

import math

import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from serving.rollout import comparison
from serving.rollout.comparison import Pair, PhaseTally, Side, psi

from formats.answers.measured import BINS, by_level
from formats.rollout_plan import Limits

LIMITS = Limits()
PROBABILITIES = st.lists(st.floats(0, 1), min_size=1, max_size=50)


def side(*answers: list[float], seconds: float = 0.001, failures: int = 0) -> Side:
    found = Side()
    for each in answers:
        found.note(by_level(np.array(each)), seconds)
    for _ in range(failures):
        found.fail()
    return found


def spread_over(low: float, high: float, rows: int = 500) -> list[float]:
    return np.linspace(low, high, rows).tolist()


def pair_of(before: list[float], after: list[float]) -> Pair:
    """Both versions' answers to the same rows."""
    return Pair(side(before), side(after), moved=float(np.abs(np.subtract(before, after)).sum()))


def test_the_index_is_the_sum_of_the_formula() -> None:
    # Given 100 rows half in the first and half in the last bin, and 100 of which three quarters lie in the first
    pair = Pair(side([0.05] * 50 + [0.95] * 50), side([0.05] * 75 + [0.95] * 25))

    # Then it is Σ (p - q) ln(p / q), each bin with half a row more, computed by hand
    total = 100 + BINS / 2
    before, after = (50.5 / total, 50.5 / total), (75.5 / total, 25.5 / total)
    expected = sum((p - q) * math.log(p / q) for p, q in zip(before, after, strict=True))
    assert psi(pair) == pytest.approx(expected, abs=1e-12)


@given(before=PROBABILITIES, after=PROBABILITIES)
def test_the_index_is_symmetric_never_negative_and_zero_for_what_is_alike(
    before: list[float], after: list[float]
) -> None:
    assert psi(Pair(side(before), side(after))) == pytest.approx(psi(Pair(side(after), side(before))))
    assert psi(Pair(side(before), side(after))) >= 0
    assert psi(Pair(side(before), side(before))) == 0


@settings(max_examples=50, deadline=None)
@given(st.lists(PROBABILITIES, min_size=1, max_size=6), st.integers(0, 6))
def test_counts_of_workers_add_up_to_those_of_one(answers: list[list[float]], cut: int) -> None:
    whole, first, second = side(*answers), side(*answers[:cut]), side(*answers[cut:], failures=2)
    first.add(second)
    whole.add(side(failures=2))

    assert first.bins == whole.bins
    assert first.durations == whole.durations
    assert (first.requests, first.failures, first.rows) == (whole.requests, whole.failures, whole.rows)
    assert (*first.means, first.spread) == pytest.approx((*whole.means, whole.spread), abs=1e-9)
    assert whole.means == pytest.approx([np.mean(np.concatenate(answers))], abs=1e-9)
    assert whole.spread == pytest.approx(np.std(np.concatenate(answers)), abs=1e-6)


def test_counts_survive_the_way_through_a_file() -> None:
    tally = PhaseTally(Pair(side([0.2, 1.0]), side([0.0], failures=1)), Pair(side([0.5]), side()))

    assert msgspec.json.decode(msgspec.json.encode(tally), type=PhaseTally) == tally


@given(st.lists(st.floats(1e-6, 20), min_size=1, max_size=100), st.sampled_from([0.5, 0.95]))
def test_a_quantile_is_right_to_a_fifth(seconds: list[float], quantile: float) -> None:
    found = Side()
    for each in seconds:
        found.note(by_level(np.array([0.5])), each)
    exact = sorted(seconds)[max(math.ceil(quantile * len(seconds)) - 1, 0)]

    assert exact * 0.999 <= found.seconds(quantile) <= max(exact, 1e-6) * 1.2


def test_what_nobody_asked_for_has_no_figures() -> None:
    assert Pair().figures() == {"rows": 0}
    assert Side().seconds(0.5) == Side().spread == psi(Pair()) == 0


def test_two_good_versions_pass() -> None:
    pair = pair_of(spread_over(0.05, 0.5), spread_over(0.08, 0.55))

    assert comparison.distribution(pair, LIMITS) == []
    assert comparison.latency(pair, LIMITS) == []
    assert comparison.failures(pair.trial, LIMITS, 1) == []


@pytest.mark.parametrize(
    ("answers", "says"),
    [
        (spread_over(0.5, 0.95), "its answers are distributed differently: PSI "),
        (spread_over(0.5, 0.95), "its mean answer moved by 0.450 (0.275 to 0.725), at most 0.2"),
        ([0.275] * 500, "it hardly tells rows apart: standard deviation 0.0000, it was 0.13"),
    ],
)
def test_a_version_whose_answers_lie_otherwise_is_told_how(answers: list[float], says: str) -> None:
    found = comparison.distribution(pair_of(spread_over(0.05, 0.5), answers), LIMITS)

    assert any(line.startswith(says) for line in found), found


def test_answers_that_hardly_differ_are_alike_however_the_bins_fall() -> None:
    # Given one row, asked again and again, whose answer crossed the edge of a bin
    before, after = [0.0999] * 500, [0.1001] * 500
    pair = pair_of(before, after)

    assert psi(pair) > LIMITS.psi
    assert comparison.distribution(pair, LIMITS) == []


def test_a_version_that_fails_too_often_is_told_how_often() -> None:
    assert comparison.failures(side([0.5], failures=1), LIMITS, 20) == ["1 of 2 answers failed, at most 1.0% may"]
    assert comparison.failures(side(*[[0.5]] * 199, failures=1), LIMITS, 20) == []


def test_slow_is_what_takes_many_times_as_long_and_long_enough_to_notice() -> None:
    fast, slow = side([0.5], seconds=0.001), side([0.5], seconds=0.2)

    assert "it is too slow: " in comparison.latency(Pair(fast, slow), LIMITS)[0]
    assert comparison.latency(Pair(slow, fast), LIMITS) == []
    assert comparison.latency(Pair(fast, side([0.5], seconds=0.01)), LIMITS) == []
    assert comparison.latency(Pair(slow, side([0.5], seconds=0.3)), LIMITS) == []


def test_a_slow_tail_is_noticed() -> None:
    tail = side(*[[0.5]] * 90)
    for _ in range(10):
        tail.note(by_level(np.array([0.5])), 1.0)

    assert "at the 95% quantile" in comparison.latency(Pair(side(*[[0.5]] * 100), tail), LIMITS)[0]
