from __future__ import annotations

import hashlib
import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from formats.portable_model import ModelError, PortableModel
from tests.portable_files import INPUTS, expected, portable_bytes

MODEL = PortableModel.load(portable_bytes())


def test_a_model_answers_what_its_graph_says() -> None:
    answers = MODEL.columns({"hour": [2.0, 3], "distance": np.array([1.5, -1.0]), "carrier": ["B6", "UA"]})

    assert answers.tolist() == pytest.approx([expected(1.5, 2, 1), expected(-1, 3, 2)], abs=1e-12)


def test_nulls_and_unknown_categories_are_missing_values() -> None:
    answers = MODEL.rows(
        [
            {"distance": None, "hour": 2, "carrier": "UA"},
            {"distance": 1, "hour": 2, "carrier": "never seen"},
            {"distance": 1, "hour": 2, "carrier": None},
            {"distance": 1, "hour": 2},
        ]
    )

    missing_carrier = expected(1, 2, 0)
    assert answers.tolist() == pytest.approx([expected(0, 2, 2)] + [missing_carrier] * 3, abs=1e-12)


def test_columns_that_the_model_does_not_take_are_ignored() -> None:
    columns: dict[str, list[Any]] = {"distance": [1.0], "hour": [2.0], "carrier": ["AA"], "flight_id": ["x"]}

    assert MODEL.columns(columns).tolist() == pytest.approx([expected(1, 2, 0)])


def test_an_absent_column_is_named() -> None:
    with pytest.raises(ModelError, match="takes columns that are not there: hour, carrier"):
        MODEL.columns({"distance": [1.0]})


def test_no_rows_have_no_answers() -> None:
    assert MODEL.rows([]).shape == (0,)


@settings(max_examples=60, deadline=None)
@given(
    st.lists(
        st.fixed_dictionaries(
            {
                "distance": st.none() | st.floats(-5, 5),
                "hour": st.none() | st.integers(0, 23) | st.booleans(),
                "carrier": st.none() | st.sampled_from(["AA", "B6", "UA", "XX", ""]) | st.text(max_size=3),
            }
        ),
        max_size=20,
    )
)
def test_a_row_is_answered_the_same_alone_and_in_company(rows: list[dict[str, object]]) -> None:
    together = MODEL.rows(rows)

    assert together.tolist() == pytest.approx([float(MODEL.rows([row])[0]) for row in rows], abs=1e-12)


def test_a_file_knows_what_it_is() -> None:
    content = portable_bytes()
    model = PortableModel.load(content, sha256=hashlib.sha256(content).hexdigest())

    assert [column.name for column in model.inputs] == ["distance", "hour", "carrier"]
    assert (model.description.use_case, str(model.description.trained_through)) == ("flight_delay", "2013-09-30")
    assert model.sha256 == hashlib.sha256(content).hexdigest()


def test_a_wrong_hash_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "model.onnx"
    path.write_bytes(portable_bytes(bias=0.2))

    with pytest.raises(ModelError, match=r"model file .*model\.onnx: SHA-256 is [0-9a-f]{64}, expected 0000"):
        PortableModel.open(path, sha256="0" * 64)


@pytest.mark.parametrize("share", [0, 0.1, 0.5, 0.9, 0.999])
def test_a_truncated_file_is_refused_in_one_line(share: float) -> None:
    whole = portable_bytes()

    with pytest.raises(ModelError) as refused:
        PortableModel.load(whole[: int(len(whole) * share)], name="cut.onnx")

    assert str(refused.value).startswith("model file cut.onnx: ")
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"\x80\x04\x95 a pickle, say", "not a whole ONNX file"),
        (portable_bytes(metadata={}), "no 'nightshift' metadata"),
        (portable_bytes(metadata={"nightshift": "{"}), "metadata is not as expected"),
        (portable_bytes(metadata={"nightshift": json.dumps({"use_case": "x"})}), "metadata has no 'key'"),
        (
            portable_bytes(
                metadata={"nightshift": json.dumps({"use_case": "x", "key": "k", "inputs": list(INPUTS[:2])})}
            ),
            "expected features float64 [N, 2]",
        ),
    ],
)
def test_a_foreign_file_is_refused(content: bytes, says: str) -> None:
    with pytest.raises(ModelError) as refused:
        PortableModel.load(content)

    assert says in str(refused.value)
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize(("output", "bias"), [("Identity", 7.0), ("Identity", math.nan), ("Log", -1.0)])
def test_a_model_whose_answers_are_no_probabilities_fails_its_self_test(output: str, bias: float) -> None:
    with pytest.raises(ModelError, match=r"self-test failed: .* not a probability in \[0, 1\]"):
        PortableModel.load(portable_bytes(output=output, bias=bias)).self_test()
