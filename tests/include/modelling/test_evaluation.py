"""Figures agree with their definitions, and resampled days with resampled rows."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from include.modelling.evaluation import PairCounts, calibration, calibration_error, draws, score


@settings(max_examples=50, deadline=None)
@given(seed=st.integers(0, 10_000), days=st.integers(1, 6), levels=st.sampled_from([3, 1_000_000]))
def test_auc_of_resampled_days_is_that_of_the_resampled_rows(seed: int, days: int, levels: int) -> None:
    from sklearn.metrics import roc_auc_score

    random = np.random.default_rng(seed)
    labels = random.integers(0, 2, 60).astype(float)
    probabilities = random.integers(0, levels, 60) / levels  # few levels: many ties
    day = random.integers(0, days, 60)
    weights = draws(days, 5, seed)
    counts = PairCounts.of(labels, probabilities, day)
    weights = weights[:, : len(counts.positives)]

    for weight, auc in zip(weights, counts.aucs(weights), strict=True):
        drawn = weight[day]
        kept = drawn > 0
        if len(set(labels[kept])) < 2:
            assert np.isnan(auc)
        else:
            expected = roc_auc_score(labels[kept], probabilities[kept], sample_weight=drawn[kept])
            assert auc == pytest.approx(expected, abs=1e-12)


def test_draws_are_the_same_every_time_and_keep_the_number_of_days() -> None:
    assert (draws(14, 50, 7) == draws(14, 50, 7)).all()
    assert (draws(14, 50, 7).sum(axis=1) == 14).all()
    assert (draws(14, 50, 7) != draws(14, 50, 8)).any()


def test_honest_probabilities_are_calibrated_and_shifted_ones_are_off_by_the_shift() -> None:
    random = np.random.default_rng(1)
    probabilities = random.uniform(0.1, 0.7, 100_000)
    labels = (random.random(100_000) < probabilities).astype(float)

    assert calibration_error(labels, probabilities) < 0.01
    assert calibration_error(labels, probabilities + 0.2) == pytest.approx(0.2, abs=0.01)
    assert sum(b.rows for b in calibration(labels, probabilities)) == 100_000


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 10_000), levels=st.sampled_from([2, 5, 1_000_000]))
def test_figures_agree_with_scikit_learn(seed: int, levels: int) -> None:
    from sklearn import metrics

    random = np.random.default_rng(seed)
    labels = np.append(random.integers(0, 2, 80), [0, 1]).astype(float)
    probabilities = random.integers(0, levels + 1, 82) / levels

    figures = score(labels, probabilities)

    assert figures is not None
    assert figures.auc == pytest.approx(metrics.roc_auc_score(labels, probabilities))
    assert figures.average_precision == pytest.approx(metrics.average_precision_score(labels, probabilities))
    assert figures.brier == pytest.approx(metrics.brier_score_loss(labels, probabilities))
    assert figures.log_loss == pytest.approx(metrics.log_loss(labels, probabilities))


def test_rows_of_one_class_have_no_figures() -> None:
    assert score(np.zeros(5), np.linspace(0, 1, 5)) is None
    assert score(np.ones(5), np.linspace(0, 1, 5)) is None


def test_figures_of_a_small_example() -> None:
    figures = score(np.array([0.0, 0.0, 1.0, 1.0]), np.array([0.1, 0.6, 0.4, 0.9]))

    assert figures is not None
    assert figures.auc == 0.75
    assert figures.average_precision == pytest.approx((1 / 1 + 2 / 3) / 2)
    assert figures.brier == pytest.approx((0.01 + 0.36 + 0.36 + 0.01) / 4)
    assert figures.bias == pytest.approx(0.0)
