"""Equality of the two sides: on every row of a whole day of real features, the served file answers as the fitted model.

Three ways lead to a served answer (columns, rows, the bytes of a request); all are held against scikit-learn's.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date, timedelta

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pytest
from pyspark.sql import SparkSession

from formats.request_rows import RequestModel
from include.modelling import portable
from include.modelling.estimators.estimator import Estimating, LearningProblem, fit
from include.modelling.examples import Examples, ingredients, load
from include.modelling.inputs import encode
from include.modelling.portable import Origin
from include.modelling.recipe import Recipe
from include.modelling.scoring import answers, feature_partition, raw_columns, raw_rows
from include.settings import Settings
from include.step import Context
from include.storage.lake import Lake
from include.use_cases.flight_delay.candidates import CANDIDATES
from include.use_cases.flight_delay.gates import GATES
from include.use_cases.flight_delay.spec import SPEC
from spark_jobs.features import FeaturesArguments, features
from tests import flight_data
from tests.spark_jobs.test_features import context_of

pytestmark = pytest.mark.spark

DAY = date(2013, 1, 20)
TOLERANCE = 1e-5
"""As probability; the issue's figure. What was seen is below 1e-12."""
AT_ONCE = 1000


@dataclass(frozen=True)
class Both:
    """A candidate as it was fitted, and as it is served."""

    recipe: Recipe
    fitted: Estimating
    served: RequestModel
    examples: Examples

    def expected(self, day: pa.Table) -> npt.NDArray[np.float64]:
        """What the training side answers."""
        return self.fitted.predict(encode(day, self.examples.inputs))


@pytest.fixture(scope="module")
def context(spark: SparkSession, tmp_path_factory: pytest.TempPathFactory) -> Context:
    """A lake with a week of real features, every flight of it."""
    root = tmp_path_factory.mktemp("raw lake of whole days")
    flight_data.publish(Lake.open(Settings(lake=str(root)), SPEC.name), SPEC.first_day, DAY)
    made = context_of(tmp_path_factory.mktemp("whole days"), history_days=6, raw=root)
    features(made, FeaturesArguments(use_case=SPEC.package, date=DAY))
    return made


@pytest.fixture(scope="module", params=CANDIDATES, ids=lambda recipe: recipe.name)
def both(request: pytest.FixtureRequest, context: Context) -> Both:
    """One of the candidates that compete each night, fitted on that week."""
    recipe: Recipe = request.param
    made_of = ingredients(context.lake, context.use_case.spec, DAY)
    examples = load(context, made_of, recipe.inputs, GATES.slices, [DAY])
    known = examples.known[DAY]
    problem = LearningProblem(examples.task, examples.inputs, recipe.seed)
    fitted = fit(recipe, problem, examples.matrix[:known], examples.labels[:known])
    content = portable.write(fitted, examples.inputs, Origin(SPEC.name, SPEC.key, recipe, DAY))
    return Both(recipe, fitted, RequestModel.load(content), examples)


@pytest.fixture(params=SPEC.horizons, ids=lambda horizon: horizon.name)
def day(request: pytest.FixtureRequest, context: Context) -> pa.Table:
    """All flights of a horizon's day that was not learned from, or was."""
    horizon = request.param
    table = context.lake.read(feature_partition(horizon, DAY + timedelta(days=horizon.day_offset)))
    assert table.num_rows > 700
    return table


def test_a_days_columns_are_answered_as_the_fitted_model_does(both: Both, day: pa.Table) -> None:
    by_column = both.served.columns(raw_columns(day, both.served.inputs))

    assert np.abs(by_column - both.expected(day)).max() <= TOLERANCE
    assert np.abs(answers(both.served, day) - both.expected(day)).max() <= TOLERANCE


def test_a_days_requests_are_answered_as_the_fitted_model_does(both: Both, day: pa.Table) -> None:
    rows = raw_rows(day, both.served.inputs)

    by_request = np.concatenate([both.served.answer(body) for body in _requests(rows)])

    assert np.abs(by_request - both.expected(day)).max() <= TOLERANCE
    assert np.abs(both.served.rows(rows) - both.expected(day)).max() <= TOLERANCE


def test_the_days_answers_are_not_all_alike(both: Both, day: pa.Table) -> None:
    # Else equality would prove little.
    assert np.std(both.expected(day)) > 0.005


def _requests(rows: list[dict[str, object]]) -> Iterator[bytes]:
    for first in range(0, len(rows), AT_ONCE):
        yield json.dumps({"rows": rows[first : first + AT_ONCE]}).encode()
