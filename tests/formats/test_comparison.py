from __future__ import annotations

import math
from typing import Any

import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from formats.answers.measured import BINS, by_level
from formats.comparison import Pair, PhaseTally, Side, comparable, compared, psi
from formats.portable_model import AnswerError, Found
from formats.request_rows import RequestModel
from tests.portable_files import INPUTS, portable_bytes
from tests.sides import side

PROBABILITIES = st.lists(st.floats(0, 1), min_size=1, max_size=50)


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
def test_counts_of_replicas_add_up_to_those_of_one(answers: list[list[float]], cut: int) -> None:
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


# Two models asked the same

ROWS = [{"distance": number / 5 - 3, "hour": number % 24, "carrier": "B6"} for number in range(30)]


def model(**content: Any) -> RequestModel:
    return RequestModel.load(portable_bytes(**content))


def ask(asked: RequestModel) -> Found:
    return asked.rows(ROWS)


@pytest.mark.parametrize("trial_first", [True, False])
def test_both_versions_answers_to_the_same_rows_are_counted(trial_first: bool) -> None:
    before, after = model(), model(bias=0.5)

    pair = compared(before, after, ask, trial_first=trial_first)

    apart = np.abs(after.rows(ROWS) - before.rows(ROWS)).mean()
    assert (pair.proven.rows, pair.trial.rows, pair.trial.failures) == (30, 30, 0)
    assert pair.difference == pytest.approx(apart)
    assert pair.figures()["mean_difference"] == round(apart, 5)


def test_a_failure_of_the_version_on_trial_counts_against_it_and_one_of_both_against_none() -> None:
    # Given a model whose answers to these rows are no probabilities
    broken = model(output="Identity", weights=(9.0, 0.0, 0.0))
    with pytest.raises(AnswerError):
        ask(broken)

    assert compared(model(), broken, ask, trial_first=False).trial.failures == 1
    assert compared(broken, broken, ask, trial_first=False) == Pair()


def test_a_request_that_is_wrong_itself_counts_for_nothing() -> None:
    def wrong(asked: RequestModel) -> Found:
        return asked.answer(b'{"rows": [{"distance": "far"}]}')

    assert compared(model(), model(bias=0.5), wrong, trial_first=True) == Pair()


def test_versions_are_comparable_if_they_take_the_same_inputs_whatever_their_categories() -> None:
    distance, hour, carrier = INPUTS
    more = model(inputs=(distance, hour, {**carrier, "categories": ["AA", "ZZ"]}))
    other = model(inputs=(distance, hour, {**carrier, "name": "airline"}))

    assert comparable(model(), more)
    assert not comparable(model(), other)
