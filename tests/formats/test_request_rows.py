from __future__ import annotations

import json
import re
from collections.abc import Callable
from typing import Any

import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from formats.portable_model import ModelInput
from formats.request_rows import LARGEST, MAX_ROWS, RowError, RowReader
from tests.portable_files import INPUTS

READER = RowReader([ModelInput.from_dict(column) for column in INPUTS])
ROW = '{"distance": 1, "hour": 2, "carrier": "B6"}'

numbers = st.none() | st.booleans() | st.integers(-(10**30), 10**30) | st.floats(-LARGEST, LARGEST)
carriers = st.none() | st.sampled_from(["AA", "B6", "UA"]) | st.text(max_size=4)
good_rows = st.fixed_dictionaries({"distance": numbers, "hour": numbers, "carrier": carriers})
anything = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=5,
)


def refusal(body: bytes) -> str:
    with pytest.raises(RowError) as refused:
        READER.read(body)
    return str(refused.value)


def second_row(field: str, value: str) -> bytes:
    fields = {"distance": "1", "hour": "2", "carrier": '"B6"'} | {field: value}
    row = ", ".join(f'"{name}": {text}' for name, text in fields.items())
    return f'{{"rows": [{ROW}, {{{row}}}]}}'.encode("utf-8", "surrogateescape")


@settings(max_examples=60, deadline=None)
@given(st.lists(good_rows, min_size=1, max_size=20))
def test_good_rows_become_the_matrix_that_the_card_describes(rows: list[dict[str, Any]]) -> None:
    codes = {"AA": 0.0, "B6": 1.0, "UA": 2.0}

    matrix = READER.read(json.dumps({"rows": rows}).encode())

    nan = float("nan")
    wanted = [
        [*(nan if row[name] is None else float(row[name]) for name in ("distance", "hour")), codes.get(row["carrier"])]
        for row in rows
    ]
    np.testing.assert_array_equal(matrix, np.array(wanted, dtype=np.float64))


@settings(max_examples=200, deadline=None)
@given(st.binary(max_size=40) | anything.map(lambda value: json.dumps({"rows": [value]}).encode()))
def test_whatever_is_sent_is_read_or_refused_in_one_line(body: bytes) -> None:
    try:
        READER.read(body)
    except RowError as error:
        assert str(error)
        assert "\n" not in str(error)
        assert len(str(error)) < 300


def read_or_refused(read: Callable[[], Any]) -> Any:
    """The matrix, or the line."""
    try:
        return read().tolist()
    except RowError as error:
        return str(error)


def test_columns_are_read_as_the_same_rows_are() -> None:
    bad_rows = st.fixed_dictionaries(dict.fromkeys(("distance", "hour", "carrier"), anything))
    answers: set[type] = set()

    @settings(max_examples=300, deadline=None)
    @given(st.lists(good_rows | bad_rows, min_size=1, max_size=5))
    def same(given_rows: list[dict[str, Any]]) -> None:
        rows = msgspec.json.decode(msgspec.json.encode(given_rows))  # which has null for NaN and Infinity
        # One value that is wrong: of several, rows name the first by row, and columns the first by input.
        wrong = [(row, name) for row in rows for name in row if not isinstance(read_alone(row, name), list)]
        for row, name in wrong[1:]:
            row[name] = None
        by_column = read_or_refused(lambda: READER.columns({name: [row[name] for row in rows] for name in rows[0]}))
        by_row = read_or_refused(lambda: READER.read(msgspec.json.encode({"rows": rows})))
        answers.add(type(by_row))
        np.testing.assert_equal(by_column, by_row)

    same()
    assert answers == {list, str}


def read_alone(row: dict[str, Any], name: str) -> Any:
    alone = {"distance": [None], "hour": [None], "carrier": [None]} | {name: [row[name]]}
    return read_or_refused(lambda: READER.columns(alone))


@pytest.mark.parametrize(
    ("columns", "why"),
    [
        ({"distance": [1], "hour": [2]}, "row 0, field 'carrier': missing; send null where the value is not known"),
        (
            {"distance": [1], "hour": [2], "carrier": [None], "tail": [1]},
            "row 0, field 'tail': unknown; the model takes distance, hour, carrier",
        ),
        (
            {"distance": [1, 2], "hour": [2], "carrier": [None]},
            "rows: some inputs have more values than others; send null where a value is not known",
        ),
        ({"distance": [], "hour": [], "carrier": []}, "rows: at least 1 row is needed"),
        ({"distance": [1] * (MAX_ROWS + 1), "hour": [2], "carrier": [None]}, f"rows: at most {MAX_ROWS} rows at once"),
        (
            {"distance": [1], "hour": [2, float("nan")], "carrier": [None]},
            "row 1, field 'hour': not a finite number within ±1e+30",
        ),
    ],
)
def test_what_is_wrong_with_columns_is_named(columns: dict[str, list[Any]], why: str) -> None:
    with pytest.raises(RowError, match=f"^{re.escape(why)}$"):
        READER.columns(columns)


def test_fields_may_come_in_any_order() -> None:
    body = b'{"rows": [{"carrier": "UA", "hour": 2, "distance": 1}]}'

    assert READER.read(body).tolist() == [[1, 2, 2]]


def test_a_category_that_the_model_never_saw_is_a_missing_value() -> None:
    seen = READER.read(second_row("carrier", '"never seen"'))
    null = READER.read(second_row("carrier", "null"))

    np.testing.assert_array_equal(seen, null)
    assert np.isnan(seen[1, 2])


@pytest.mark.parametrize("name", ["a b", "naïve", "f1", "rows", "class", "x.y"])
def test_a_feature_may_have_any_name(name: str) -> None:
    reader = RowReader([ModelInput.from_dict({"name": name, "kind": "number"})])

    assert reader.read(json.dumps({"rows": [{name: 3}]}).encode()).tolist() == [[3]]
    with pytest.raises(RowError) as refused:
        reader.read(json.dumps({"rows": [{name: 3}, {name: "three"}]}).encode())
    assert str(refused.value) == f"row 1, field {name!r}: expected a number or null, got text"


@pytest.mark.parametrize("value", ["NaN", "Infinity", "-Infinity"])
def test_what_is_no_finite_number_is_named_by_row_and_field(value: str) -> None:
    assert refusal(second_row("hour", value)) == (
        "row 1, field 'hour': not a finite number; send null where the value is not known"
    )


@pytest.mark.parametrize("value", ["1e999", "-1e31", "1e31", "1" + "0" * 31, "1" + "0" * 4000, "-" + "9" * 400])
def test_a_number_too_large_for_any_measurement_is_refused(value: str) -> None:
    assert refusal(second_row("hour", value)) == "row 1, field 'hour': not a finite number within ±1e+30"


@pytest.mark.parametrize(
    ("field", "value", "says"),
    [
        ("hour", '"2"', "expected a number or null, got text"),
        ("hour", "{}", "expected a number or null, got object"),
        ("hour", "[" * 100_000, "expected a number or null, got a list"),
        ("carrier", "2", "expected text or null, got a number"),
        ("carrier", "true", "expected text or null, got true or false"),
    ],
)
def test_a_value_of_another_kind_is_refused_without_being_repeated(field: str, value: str, says: str) -> None:
    assert refusal(second_row(field, value)) == f"row 1, field {field!r}: {says}"


@pytest.mark.parametrize(
    ("body", "says"),
    [
        (b"", "body: JSON that ends too early"),
        (b"{", "body: JSON that ends too early"),
        (b"[]", "body: expected an object, got a list"),
        (b"NaN", "body: JSON is malformed: invalid character (byte 0)"),
        (b'{"rows": [NaN]}', "body: JSON is malformed: invalid character (byte 10)"),
        (b'{"rows": ' + b"[" * 1_000_000, "row 0: expected an object, got a list"),
        (b'{"rows": [{"x": ' + b"[" * 1_000_000, "row 0, field 'x': unknown"),
        (b'{"rows": [{"hour": NaN, "x": ' + b"[" * 1_000_000, "body: JSON is malformed"),
        (b'{"rows": [], "rows": 3}', "rows: at least 1 row is needed"),
        (b'{"rows": [{"carrier": "\xff"}]}', "body: not UTF-8"),
        (b'{"rows": [{"carrier": "\\ud800"}]}', "body: JSON that ends too early, or half a surrogate pair in it"),
        (b'\xef\xbb\xbf{"rows": []}', "body: JSON is malformed: invalid character (byte 0)"),
    ],
)
def test_a_body_that_is_no_request_is_told_why(body: bytes, says: str) -> None:
    assert refusal(body).startswith(says)


def test_a_strange_field_name_is_not_repeated() -> None:
    body = json.dumps({"rows": [{"<script>\n": 1}]}).encode()

    assert refusal(body) == (
        "row 0, field of a name that no input has: unknown; the model takes distance, hour, carrier"
    )


def test_the_number_of_rows_is_bounded() -> None:
    def body(rows: int) -> bytes:
        return f'{{"rows": [{", ".join([ROW] * rows)}]}}'.encode()

    assert READER.read(body(MAX_ROWS)).shape == (MAX_ROWS, 3)
    assert refusal(body(MAX_ROWS + 1)) == "rows: at most 1000 rows at once"
    assert refusal(body(0)) == "rows: at least 1 row is needed"
