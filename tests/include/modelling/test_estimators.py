"""Fits made at once give the models that they give one after the other."""

from __future__ import annotations

import os
import signal
from datetime import date
from functools import partial
from threading import Event

import numpy as np
import pytest

from formats.portable_model import InputKind
from include.errors import DataError
from include.modelling import portable
from include.modelling.estimators.estimator import Estimating, LearningProblem, fit, side_by_side
from include.modelling.estimators.rates import Rates
from include.modelling.inputs import Input, Matrix
from include.modelling.recipe import Estimator, Recipe
from include.modelling.tasks.binary import BinaryTask

INPUTS = (*(Input(f"rate_{number}") for number in range(12)), Input("carrier", InputKind.CATEGORY, ("AA", "B6", "UA")))


PROBLEM = LearningProblem(BinaryTask(), INPUTS, 20130101)
OURS = [each for each in Estimator if each is not Estimator.CLASS_SHARES]


def recipe(estimator: Estimator) -> Recipe:
    return Recipe("any", estimator, tuple(wanted.name for wanted in INPUTS))


def rows(count: int) -> tuple[Matrix, Matrix]:
    random = np.random.default_rng(count)
    matrix = random.normal(size=(count, len(INPUTS)))
    matrix[:, -1] = random.integers(0, 3, count)
    matrix[random.random(matrix.shape) < 0.1] = np.nan
    labels = (np.nan_to_num(matrix[:, 0] * matrix[:, 1]) + random.normal(size=count) > 0.5).astype(np.float64)
    return matrix, labels


def file(of: Recipe, model: Estimating) -> bytes:
    return portable.write(model, INPUTS, portable.Origin("any", "key", of, date(2013, 9, 30)))


@pytest.mark.slow
@pytest.mark.parametrize("estimator", OURS)
def test_fits_made_at_once_give_the_same_files_as_one_after_the_other(estimator: Estimator) -> None:
    of = recipe(estimator)
    sizes = (30_000, 20_000, 2_000, 500)
    fits = [partial(fit, of, PROBLEM, *rows(size)) for size in sizes]

    at_once = side_by_side(of, *fits)

    assert [file(of, model) for model in at_once] == [file(of, each()) for each in fits]


@pytest.mark.parametrize("estimator", OURS)
def test_a_fit_that_cannot_be_made_is_told_of(estimator: Estimator) -> None:
    of = recipe(estimator)
    matrix, labels = rows(500)

    with pytest.raises(DataError, match="any: 500 labelled rows of one class cannot be learned from"):
        side_by_side(of, partial(fit, of, PROBLEM, matrix, labels), partial(fit, of, PROBLEM, matrix, 0 * labels))


def test_a_step_that_is_told_to_stop_does_not_wait_for_its_fits() -> None:
    of, told, fitted = recipe(Estimator.LOGISTIC_REGRESSION), Event(), Event()

    def long() -> Estimating:
        os.kill(os.getpid(), signal.SIGTERM)
        told.wait(20)
        fitted.set()
        return Rates(PROBLEM)

    def stop(*_: object) -> None:
        raise InterruptedError

    before = signal.signal(signal.SIGTERM, stop)
    try:
        with pytest.raises(InterruptedError):
            side_by_side(of, long)
        assert not fitted.is_set(), "the fit is still at work"
    finally:
        told.set()
        signal.signal(signal.SIGTERM, before)
