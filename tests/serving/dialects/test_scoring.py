from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from fastapi.testclient import TestClient

from tests.portable_files import expected, portable_bytes
from tests.serving.dialects.dialects import deploy, line, serving

ROW = {"distance": 1.5, "hour": 2.0, "carrier": "B6"}
SPLIT = {"columns": list(ROW), "data": [list(ROW.values())]}
CSV = {"content-type": "text/csv; charset=utf-8"}


def test_an_answer_is_a_record_for_each_row_and_a_header_names_the_version(client: TestClient) -> None:
    answer = client.post("/invocations", json={"dataframe_split": {**SPLIT, "index": [9]}})

    assert answer.json() == {"predictions": [{"probability": pytest.approx(expected(1.5, 2, 1))}]}
    assert answer.headers["x-model-version"] == "7"


def test_one_row_may_be_its_values_by_name(client: TestClient) -> None:
    answer = client.post("/invocations", json={"inputs": ROW})

    assert answer.json() == {"predictions": [{"probability": pytest.approx(expected(1.5, 2, 1))}]}


def test_what_pandas_holds_for_a_value_that_is_not_known_is_taken(client: TestClient) -> None:
    split = {"columns": list(ROW), "data": [[float("nan"), 2.0, "B6"], [None, 2.0, "B6"]]}

    answer = client.post(
        "/invocations",
        content=json.dumps({"dataframe_split": split}),
        headers={"content-type": "application/json"},
    )

    missing, null = answer.json()["predictions"]
    assert missing == null == {"probability": pytest.approx(expected(0, 2, 1))}


@pytest.mark.parametrize("text", ["", "NA", "nan", "null", "NaN"])
def test_a_table_of_text_says_in_many_words_that_a_number_is_not_known(client: TestClient, text: str) -> None:
    answer = client.post("/invocations", content=f"distance,hour,carrier\n{text},2,B6\n", headers=CSV)

    assert answer.json() == {"predictions": [{"probability": pytest.approx(expected(0, 2, 1))}]}


def test_a_category_of_digits_stays_text(tmp_path: Path) -> None:
    only = [{"name": "gate", "kind": "category", "categories": ["1", "2"]}]
    with serving(tmp_path) as client:
        deploy(client, tmp_path, portable_bytes(inputs=only, weights=(1.0,)), "1")
        one, two = client.post("/invocations", content="gate\n1\n2\n", headers=CSV).json()["predictions"]

    assert one["probability"] < two["probability"]


@pytest.mark.parametrize(
    ("body", "why"),
    [
        ({}, "body: takes exactly one of dataframe_split, dataframe_records, instances, inputs"),
        ({"rows": [ROW]}, "body: takes exactly one of dataframe_split, dataframe_records, instances, inputs"),
        (
            {"inputs": [ROW], "instances": [ROW]},
            "body: takes exactly one of dataframe_split, dataframe_records, instances, inputs",
        ),
        ({"dataframe_records": []}, "row 0, field 'distance': missing; send null where the value is not known"),
        ({"dataframe_split": {**SPLIT, "data": []}}, "rows: at least 1 row is needed"),
        (
            {"dataframe_records": [{"distance": 1.0}]},
            "row 0, field 'hour': missing; send null where the value is not known",
        ),
        (
            {"dataframe_records": [{**ROW, "tail": 1}]},
            "row 0, field 'tail': unknown; the model takes distance, hour, carrier",
        ),
        (
            {"dataframe_records": [ROW, {"hour": 2.0}]},
            "row 1: has other fields than row 0; send null where a value is not known",
        ),
        ({"instances": [{**ROW, "hour": "two"}]}, "row 0, field 'hour': expected a number or null, got text"),
        ({"inputs": [ROW] * 1001}, "rows: at most 1000 rows at once"),
        ({"inputs": {**ROW, "hour": [1.0]}}, "body: each input has a list of values, or each has one value"),
        (
            {"inputs": {name: [value] * (1 + (name == "hour")) for name, value in ROW.items()}},
            "rows: some inputs have more values than others; send null where a value is not known",
        ),
        ({"inputs": [[1.5, 2.0, "B6"]]}, "body: Expected `object`, got `array` - at `$.inputs[0]`"),
        (
            {"dataframe_split": {**SPLIT, "data": [[1.5, 2.0]]}},
            "row 0: has not one value for each of the 3 columns",
        ),
        ({"dataframe_split": {**SPLIT, "columns": ["hour", "hour", "carrier"]}}, "columns: a name is there twice"),
        (
            {"dataframe_split": {"data": SPLIT["data"]}},
            "body: Object missing required field `columns` - at `$.dataframe_split`",
        ),
    ],
)
def test_what_does_not_fit_the_model_is_named(client: TestClient, body: dict[str, Any], why: str) -> None:
    answer = client.post("/invocations", json=body)

    assert (answer.status_code, answer.json()) == (400, {"error_code": "BAD_REQUEST", "message": why})


@pytest.mark.parametrize(
    ("content", "why"),
    [
        (b"{", "body: not JSON"),
        (b'{"inputs": {"hour": NaN', "body: NaN and Infinity are no JSON; send null where a value is not known"),
        (
            b'{"inputs": {"hour": NaN, "distance": Infinity, "carrier": null}}',
            "body: Infinity is no value of an input; send null where a value is not known",
        ),
        (
            b'{"inputs": {"hour": Infinity, "distance": 1, "carrier": null}}',
            "body: NaN and Infinity are no JSON; send null where a value is not known",
        ),
        (b'{"inputs": {"a":' + b"[" * 100_000, "body: nested too deep"),
        (b'{"inputs": {"a": NaN, "b":' + b"[" * 100_000, "body: nested too deep"),
    ],
)
def test_what_is_no_json_is_one_line(client: TestClient, content: bytes, why: str) -> None:
    answer = client.post("/invocations", content=content, headers={"content-type": "application/json"})

    assert (answer.status_code, line(answer)) == (400, why)


@pytest.mark.parametrize(
    ("content", "why"),
    [
        (b"distance,hour,carrier\n1.5,2\n", "row 0: has not one value for each of the 3 columns"),
        (b"distance,hour,carrier\n1.5,two,B6\n", "row 0, field 'hour': expected a number or null, got text"),
        (b"distance,hour,carrier\n1.5,inf,B6\n", "row 0, field 'hour': not a finite number within ±1e+30"),
        (b"distance,hour,carrier\n", "rows: at least 1 row is needed"),
        (b"distance,hour\n1,2\n", "row 0, field 'carrier': missing; send null where the value is not known"),
        (b"", "body: not CSV in UTF-8 with a line of names and a line for each row"),
        (b"\xff\n1\n", "body: not CSV in UTF-8 with a line of names and a line for each row"),
        (b'hour\n"2\n', "body: not CSV in UTF-8 with a line of names and a line for each row"),
    ],
)
def test_what_is_wrong_with_a_table_is_named(client: TestClient, content: bytes, why: str) -> None:
    answer = client.post("/invocations", content=content, headers=CSV)

    assert (answer.status_code, line(answer)) == (400, why)


def test_another_media_type_is_refused(client: TestClient) -> None:
    answer = client.post("/invocations", content=b"x", headers={"content-type": "application/vnd.apache.parquet"})

    assert (answer.status_code, line(answer)) == (415, "content-type: this takes application/json or text/csv")


def test_health_and_version(client: TestClient) -> None:
    answers = [client.get("/ping"), client.post("/ping"), client.get("/health"), client.get("/version")]

    assert [(answer.status_code, answer.text) for answer in answers] == [(200, "\n")] * 3 + [(200, "0.1.0")]


def test_a_server_that_serves_nothing_is_not_healthy(tmp_path: Path) -> None:
    with serving(tmp_path) as client:
        answers = [client.get("/ping"), client.get("/health"), client.post("/invocations", json={"inputs": ROW})]

    why = {"error_code": "TEMPORARILY_UNAVAILABLE", "message": "no model is served: nothing was deployed yet"}
    assert [(answer.status_code, answer.json()) for answer in answers] == [(503, why)] * 3
