from __future__ import annotations

from datetime import date
from functools import cache
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from formats.portable_model import InputKind, PortableModel
from include.errors import DataError, LakeError
from include.modelling import portable, scoring
from include.modelling.estimators.estimator import LearningProblem, fit
from include.modelling.inputs import Input, encode
from include.modelling.recipe import Estimator, Recipe
from include.modelling.scoring import answers, load_model, raw_columns, raw_rows
from include.modelling.tasks.binary import BinaryTask
from include.storage.lake import Lake
from stores.folder import FileStore
from tests.portable_files import portable_bytes

INPUTS = (
    Input("carrier", InputKind.CATEGORY, ("AA", "B6", "UA")),
    Input("gate", InputKind.CATEGORY, ("1", "12")),
    Input("distance"),
    Input("hour"),
    Input("holiday"),
)
NAMES = tuple(wanted.name for wanted in INPUTS)


def table(rows: list[dict[str, object]]) -> pa.Table:
    return pa.Table.from_pylist(
        rows,
        schema=pa.schema(
            [
                ("flight_id", pa.string()),
                ("carrier", pa.string()),
                ("gate", pa.int64()),
                ("distance", pa.float64()),
                ("hour", pa.int64()),
                ("holiday", pa.bool_()),
            ]
        ),
    )


ROWS = st.lists(
    st.fixed_dictionaries(
        {
            "carrier": st.none() | st.sampled_from(["AA", "B6", "UA", "ZZ", "", "nan"]),
            "gate": st.none() | st.integers(0, 13),
            "distance": st.none() | st.floats(-1e6, 1e6),
            "hour": st.none() | st.integers(0, 23),
            "holiday": st.none() | st.booleans(),
        }
    ),
    max_size=25,
)


@cache
def fitted(estimator: Estimator) -> bytes:
    """A real model's real file."""
    source = np.random.default_rng(7)
    rows = table(
        [
            {
                "carrier": str(source.choice(["AA", "B6", "UA"])),
                "gate": int(source.choice([1, 12])),
                "distance": float(source.normal()),
                "hour": int(source.integers(24)),
                "holiday": bool(source.integers(2)),
            }
            for _ in range(400)
        ]
    )
    matrix = encode(rows, INPUTS)
    labels = (matrix[:, 2] + matrix[:, 0] + source.normal(size=400) > 1).astype(np.float64)
    recipe = Recipe("any", estimator, NAMES)
    model = fit(recipe, LearningProblem(BinaryTask(), INPUTS, recipe.seed), matrix, labels)
    origin = portable.Origin("flight_delay", "flight_id", recipe, date(2013, 9, 30))
    return portable.write(model, INPUTS, origin)


@pytest.mark.parametrize("estimator", [each for each in Estimator if each is not Estimator.CLASS_SHARES])
@settings(max_examples=50, deadline=None)
@given(rows=ROWS)
def test_training_scoring_and_serving_encode_a_row_alike(estimator: Estimator, rows: list[dict[str, object]]) -> None:
    features, content = table(rows), fitted(estimator)
    model = PortableModel.load(content)
    trained = portable.run(content, encode(features, INPUTS)) if rows else np.empty(0)

    scored = answers(model, features)
    by_column = model.columns(raw_columns(features, model.inputs))
    served = model.rows(raw_rows(features, model.inputs))

    np.testing.assert_allclose(scored, trained, rtol=0, atol=1e-12)
    np.testing.assert_array_equal(by_column, scored)
    np.testing.assert_array_equal(served, scored)


@pytest.mark.parametrize("estimator", [each for each in Estimator if each is not Estimator.CLASS_SHARES])
def test_a_real_file_passes_the_servers_self_test(estimator: Estimator) -> None:
    model = PortableModel.load(fitted(estimator))

    model.self_test()

    assert [column.name for column in model.inputs] == list(NAMES)
    assert model.description.trained_through == date(2013, 9, 30)


def test_a_missing_feature_column_is_named() -> None:
    with pytest.raises(DataError, match=r"features: columns hour, holiday are missing; compute the features again"):
        raw_columns(
            table([]).drop_columns(["hour", "holiday"]), PortableModel.load(fitted(Estimator.HISTORICAL_RATES)).inputs
        )


def test_scoring_names_a_missing_column_too() -> None:
    model = PortableModel.load(fitted(Estimator.HISTORICAL_RATES))
    features = table([{"carrier": "AA", "gate": 1, "distance": 0.5, "hour": 3, "holiday": True}])

    with pytest.raises(DataError, match="features: columns hour are missing; compute the features again"):
        answers(model, features.drop_columns(["hour"]))


def test_many_rows_are_scored_in_parts_and_in_order(monkeypatch: pytest.MonkeyPatch) -> None:
    model = PortableModel.load(fitted(Estimator.HIST_GRADIENT_BOOSTING))
    rows = [
        {"carrier": "AA", "gate": 1, "distance": float(place), "hour": place % 24, "holiday": False}
        for place in range(23)
    ]
    whole = answers(model, table(rows))

    monkeypatch.setattr(scoring, "ROWS_AT_ONCE", 5)

    np.testing.assert_array_equal(answers(model, table(rows)), whole)
    assert len(set(whole)) > 1


def test_a_model_that_answers_no_probabilities_is_refused_in_one_line() -> None:
    model = PortableModel.load(portable_bytes(output="Identity", bias=7.0))

    with pytest.raises(DataError, match="an answer is not a probability"):
        answers(model, pa.table({"distance": [1.0], "hour": [2.0], "carrier": ["AA"]}))


def test_rows_hold_null_where_a_value_is_not_known() -> None:
    rows = raw_rows(
        table([{"carrier": None, "gate": 12, "distance": None, "hour": 3, "holiday": True}]),
        PortableModel.load(fitted(Estimator.HISTORICAL_RATES)).inputs,
    )

    assert rows == [{"carrier": None, "gate": "12", "distance": None, "hour": 3.0, "holiday": 1.0}]


def test_a_model_file_of_another_content_than_its_name_says_is_refused(tmp_path: Path) -> None:
    lake = Lake(FileStore(tmp_path), "flight_delay")
    lake.put(f"models/{'0' * 64}.onnx", b"something else")

    with pytest.raises(DataError, match="SHA-256 is"):
        load_model(lake, "0" * 64)
    with pytest.raises(LakeError, match="is gone"):
        load_model(lake, "1" * 64)
