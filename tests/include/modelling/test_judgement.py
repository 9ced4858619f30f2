"""Who is shipped: clear winners, ties, and what the gates stop."""

from __future__ import annotations

import re
from datetime import date, timedelta

import numpy as np
import pyarrow as pa
import pytest

from include.errors import DataError
from include.modelling.inputs import Matrix
from include.modelling.judgement import Contender, Judgement, Verdict, judge
from include.modelling.recipe import Estimator, Gates, Recipe
from include.modelling.tasks.binary import BinaryTask

GATES = Gates(slices=("origin",), min_slice_rows=100)
DAYS, ROWS = 14, 300
RANDOM = np.random.default_rng(20130101)
TRUTH = RANDOM.uniform(0.02, 0.6, DAYS * ROWS)
LABELS = (RANDOM.random(DAYS * ROWS) < TRUTH).astype(float)
ORIGIN = np.where(np.arange(DAYS * ROWS) % 5 == 0, "LGA", "EWR")


def contender(name: str, probabilities: Matrix, *, baseline: bool = False) -> Contender:
    table = pa.table(
        {
            "flight_id": [str(number) for number in range(DAYS * ROWS)],
            "horizon": ["nightly", "two_hours"] * (DAYS * ROWS // 2),
            "date": [date(2013, 9, 18) + timedelta(days=number // ROWS) for number in range(DAYS * ROWS)],
            "origin": ORIGIN,
            "label": LABELS,
            "probability": np.clip(probabilities, 0, 1),
        }
    )
    return Contender(name, Recipe(name, Estimator.LOGISTIC_REGRESSION, ("a",), baseline=baseline), table)


def noisy(spread: float, seed: int = 1) -> Matrix:
    """The truth seen through noise, on the same mean: the more spread, the worse the order."""
    noise = np.random.default_rng(seed).normal(0, spread, len(TRUTH))
    return TRUTH.mean() + (TRUTH - TRUTH.mean() + noise) / (1 + spread**2 / TRUTH.var())


GOOD = contender("good", noisy(0.02))
POOR = contender("poor", noisy(0.15, seed=2))
BASELINE = contender("baseline", noisy(0.5, seed=3), baseline=True)


def judged(*contenders: Contender, opponent: Contender | None, first: bool = False) -> Judgement:
    return judge(BinaryTask(), GATES, contenders, opponent, first=first, seed=1)


def failures(judgement: Judgement, name: str) -> str:
    return "; ".join(next(trial.failures for trial in judgement.trials if trial.name == name))


def test_a_clearly_better_challenger_takes_over() -> None:
    judgement = judged(GOOD, POOR, opponent=POOR)

    assert (judgement.challenger, judgement.promoted) == ("good", True)
    assert judgement.trials[0].verdict is Verdict.BETTER
    assert judgement.trials[0].difference is not None
    assert 0 < judgement.trials[0].difference.low < judgement.trials[0].difference.value


def test_a_tie_goes_to_the_champions_recipe() -> None:
    twin = contender("twin", GOOD.holdout["probability"].to_numpy() * 0.999)

    judgement = judged(twin, GOOD, opponent=GOOD)

    assert (judgement.challenger, judgement.promoted) == ("good", True)
    assert {trial.verdict for trial in judgement.trials} == {Verdict.EQUAL}


def test_a_tie_is_enough_when_the_champions_recipe_is_no_candidate_any_more() -> None:
    twin = contender("twin", GOOD.holdout["probability"].to_numpy() * 0.999)

    judgement = judged(twin, POOR, opponent=GOOD)

    assert (judgement.challenger, judgement.promoted) == ("twin", True)
    assert "not among tonight's candidates" in judgement.reason


def test_a_worse_challenger_is_not_promoted() -> None:
    judgement = judged(POOR, opponent=GOOD)

    assert (judgement.challenger, judgement.promoted) == ("poor", False)
    assert "not shown to be as good" in failures(judgement, "poor")


def test_a_miscalibrated_model_is_stopped_however_good_its_order() -> None:
    shifted = contender("shifted", GOOD.holdout["probability"].to_numpy() * 0.8 + 0.2)

    judgement = judged(shifted, opponent=POOR)

    assert not judgement.promoted
    assert failures(judgement, "shifted").startswith("calibration error 0.1")
    assert judgement.trials[0].verdict is Verdict.BETTER


def test_a_collapsing_slice_stops_a_model_that_is_better_overall() -> None:
    guesses = noisy(0.02)
    lost = np.flatnonzero(ORIGIN == "LGA")
    guesses[lost] = np.random.default_rng(4).permutation(guesses[lost])
    lopsided = contender("lopsided", guesses)

    judgement = judged(lopsided, opponent=contender("weak", noisy(0.3, seed=5)))

    assert judgement.trials[0].verdict is Verdict.BETTER
    assert not judgement.promoted
    assert re.search(r"collapses on 2 of 4 slices, worst on \w+/origin/LGA by 0\.", failures(judgement, "lopsided"))
    assert set(judgement.trials[0].collapsed) == {"nightly/origin/LGA", "two_hours/origin/LGA"}


def test_the_first_model_must_beat_the_baseline() -> None:
    assert judged(GOOD, BASELINE, opponent=BASELINE, first=True).challenger == "good"
    assert judged(GOOD, BASELINE, opponent=BASELINE, first=True).promoted

    twin = contender("twin", BASELINE.holdout["probability"].to_numpy() * 0.999)
    judgement = judged(twin, BASELINE, opponent=BASELINE, first=True)

    assert (judgement.challenger, judgement.promoted) == ("twin", False)
    assert "does not beat the baseline" in failures(judgement, "twin")


def test_a_baseline_is_never_promoted_even_alone_at_the_top() -> None:
    best = contender("best", noisy(0.02), baseline=True)

    judgement = judged(best, POOR, opponent=best)

    assert (judgement.challenger, judgement.promoted) == ("poor", False)
    assert failures(judgement, "best") == "is a baseline, which is never shipped"


def test_of_several_that_are_better_the_best_wins() -> None:
    fair = contender("fair", noisy(0.08, seed=6))

    assert judged(fair, GOOD, POOR, opponent=POOR).challenger == "good"


def test_candidates_judged_on_other_rows_are_not_compared() -> None:
    other = Contender("other", GOOD.recipe, GOOD.holdout.slice(1))

    with pytest.raises(DataError, match="other was judged on other rows"):
        judged(GOOD, other, opponent=POOR)
