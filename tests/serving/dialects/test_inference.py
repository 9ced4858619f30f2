from __future__ import annotations

import json
import struct
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fastapi.testclient import TestClient

from include.modelling.tasks.multiclass import MulticlassTask
from serving.dialects import inference
from tests.portable_files import expected, portable_bytes
from tests.serving.dialects.dialects import INFER, binary, deploy, line, serving, tensors
from tests.serving.test_tasks import CLASSES, ROWS, file

ROW = {"distance": 1.5, "hour": 2.0, "carrier": "B6"}
MODEL = "/v2/models/flight_delay"


def tensor(name: str, values: list[Any], datatype: str = "FP64", **more: Any) -> dict[str, Any]:
    return {"name": name, "shape": [len(values)], "datatype": datatype, "data": values, **more}


def with_hour(**changed: Any) -> list[dict[str, Any]]:
    """The tensors of a row, with something else in the hour's."""
    return [{**one, **(changed if one["name"] == "hour" else {})} for one in tensors([ROW])]


def test_the_server_says_what_it_is(client: TestClient) -> None:
    assert client.get("/v2").json() == {
        "name": "nightshift",
        "version": "0.1.0",
        "extensions": ["binary_tensor_data"],
    }
    assert client.get("/v2/health/live").json() == {"live": True}
    assert client.get("/v2/health/ready").json() == {"ready": True}


@pytest.mark.parametrize("path", [MODEL, f"{MODEL}/versions/7"])
def test_a_model_says_what_it_takes_and_answers(client: TestClient, path: str) -> None:
    assert client.get(path).json() == {
        "name": "flight_delay",
        "versions": ["7"],
        "platform": "onnxruntime_onnx",
        "inputs": [
            {"name": "distance", "datatype": "FP64", "shape": [-1]},
            {"name": "hour", "datatype": "FP64", "shape": [-1]},
            {"name": "carrier", "datatype": "BYTES", "shape": [-1]},
        ],
        "outputs": [{"name": "probability", "datatype": "FP64", "shape": [-1]}],
    }
    assert client.get(f"{path}/ready").json() == {"name": "flight_delay", "ready": True}


def test_the_answer_names_the_version_and_returns_the_callers_id(client: TestClient) -> None:
    answer = client.post(INFER, json={"id": "42", "inputs": tensors([ROW])}).json()

    [output] = answer.pop("outputs")
    assert answer == {"model_name": "flight_delay", "model_version": "7", "id": "42"}
    assert output.pop("data") == pytest.approx([expected(1.5, 2, 1)])
    assert output == {"name": "probability", "datatype": "FP64", "shape": [1]}


@pytest.mark.parametrize("data", [[2.0], [[2.0]], [2], [True]])
def test_a_column_may_have_one_dimension_or_two(client: TestClient, data: list[Any]) -> None:
    answer = client.post(INFER, json={"inputs": with_hour(shape=[1, 1], data=data)}).json()

    assert answer["outputs"][0]["data"] == pytest.approx([expected(1.5, float(np.ravel(data)[0]), 1)])


@pytest.mark.slow
def test_a_multiclass_model_answers_the_class_and_the_order_of_its_probabilities(tmp_path: Path) -> None:
    with serving(tmp_path) as client:
        deploy(client, tmp_path, file(MulticlassTask(CLASSES)), "1")
        described = client.get("/v2/models/demo").json()["outputs"]
        answer = client.post("/v2/models/demo/infer", json={"inputs": tensors(ROWS)}).json()

    assert [(one["name"], one["datatype"], one["shape"]) for one in described] == [
        ("class", "BYTES", [-1]),
        ("probabilities", "FP64", [-1, 3]),
        ("classes", "BYTES", [3]),
    ]
    likeliest, probabilities, classes = answer["outputs"]
    assert classes["data"] == list(CLASSES)
    rows = np.reshape(probabilities["data"], probabilities["shape"])
    assert likeliest["data"] == [CLASSES[place] for place in rows.argmax(axis=1)]


def test_only_the_outputs_that_are_asked_for_are_answered(client: TestClient) -> None:
    wanted = client.post(INFER, json={"inputs": tensors([ROW]), "outputs": [{"name": "probability"}]})
    unknown = client.post(INFER, json={"inputs": tensors([ROW]), "outputs": [{"name": "logit"}]})

    assert [one["name"] for one in wanted.json()["outputs"]] == ["probability"]
    assert (unknown.status_code, line(unknown)) == (400, "outputs: 'logit' is none of probability")


# Versions


def test_a_version_in_service_may_be_asked_by_name(client: TestClient) -> None:
    answer = client.post(f"{MODEL}/versions/7/infer", json={"inputs": tensors([ROW])})

    assert answer.json()["model_version"] == "7"


@pytest.mark.parametrize("path", [f"{MODEL}/versions/8", f"{MODEL}/versions/8/ready", f"{MODEL}/versions/8/infer"])
def test_another_version_is_not_there_and_the_line_names_the_one_that_is(client: TestClient, path: str) -> None:
    answer = client.post(path, json={"inputs": tensors([ROW])}) if path.endswith("infer") else client.get(path)

    assert (answer.status_code, line(answer)) == (404, "this version is not in service; version 7 is")


@pytest.mark.parametrize("path", ["/v2/models/other", "/v2/models/other/ready", "/v2/models/other/infer"])
def test_another_model_is_not_there_and_the_line_names_the_one_that_is(client: TestClient, path: str) -> None:
    answer = client.post(path, json={"inputs": tensors([ROW])}) if path.endswith("infer") else client.get(path)

    assert (answer.status_code, line(answer)) == (
        404,
        "there is no model of that name; this server has flight_delay",
    )


def test_a_server_that_serves_nothing_lives_and_is_not_ready(tmp_path: Path) -> None:
    with serving(tmp_path) as client:
        answers = {path: client.get(path) for path in ("/v2", "/v2/health/live", "/v2/health/ready", MODEL)}
        answers[INFER] = client.post(INFER, json={"inputs": tensors([ROW])})

    assert [answer.status_code for answer in answers.values()] == [200, 200, 503, 503, 503]
    assert line(answers["/v2/health/ready"]) == "no model is served: nothing was deployed yet"


# What is refused


@pytest.mark.parametrize(
    ("inputs", "why"),
    [
        (tensors([ROW])[:2], "row 0, field 'carrier': missing; send null where the value is not known"),
        (
            [*tensors([ROW]), tensor("tail", [1])],
            "row 0, field 'tail': unknown; the model takes distance, hour, carrier",
        ),
        (tensors([ROW]) + tensors([ROW])[:1], "inputs: one of them is there twice"),
        (with_hour(data=["two"]), "row 0, field 'hour': expected a number or null, got text"),
        (with_hour(data=[1e31]), "row 0, field 'hour': not a finite number within ±1e+30"),
        (with_hour(data=[[2.0]]), "row 0, field 'hour': expected a number or null, got a list"),
        (with_hour(data=[2.0, 3.0]), "input 'hour': shape must be [N] or [N, 1] with N values; there are 2"),
        (with_hour(shape=[]), "input 'hour': shape must be [N] or [N, 1] with N values; there are 1"),
        (
            with_hour(data=[2.0, 3.0], shape=[2]),
            "rows: some inputs have more values than others; send null where a value is not known",
        ),
        (with_hour(datatype="FP8"), f"input 'hour': datatype is none of {', '.join(inference.DATATYPES)}"),
        ([tensor(name, []) for name in ROW], "rows: at least 1 row is needed"),
        (tensors([ROW] * 1001), "rows: at most 1000 rows at once"),
        ([{"name": "hour"}], "body: Object missing required field `datatype` - at `$.inputs[0]`"),
    ],
)
def test_what_does_not_fit_the_model_is_named(client: TestClient, inputs: list[Any], why: str) -> None:
    answer = client.post(INFER, json={"inputs": inputs})

    assert (answer.status_code, line(answer)) == (400, why)


@pytest.mark.parametrize(
    ("content", "why"),
    [
        (
            json.dumps({"inputs": with_hour(data=[float("nan")])}).encode(),
            "body: NaN and Infinity are no JSON; send null where a value is not known",
        ),
        (b"", "body: not JSON"),
        (b'{"inputs": [{"name": "\xff"}]}', "body: not JSON"),
        (
            b'{"inputs":[{"name":"hour","shape":[1],"datatype":"FP64","data":[' + b"[" * 100_000,
            "body: nested too deep",
        ),
    ],
)
def test_what_is_no_json_is_one_line(client: TestClient, content: bytes, why: str) -> None:
    answer = client.post(INFER, content=content)

    assert (answer.status_code, line(answer)) == (400, why)


# Binary tensors


def test_binary_outputs_follow_the_json(client: TestClient) -> None:
    content, headers = binary([ROW], parameters={"binary_data_output": True})

    answer = client.post(INFER, content=content, headers=headers)

    length = int(answer.headers["inference-header-content-length"])
    [output] = json.loads(answer.content[:length])["outputs"]
    assert output["parameters"] == {"binary_data_size": 8}
    assert "data" not in output
    assert struct.unpack("<d", answer.content[length:]) == pytest.approx((expected(1.5, 2, 1),))


@pytest.mark.slow
def test_an_output_may_be_binary_and_another_not(tmp_path: Path) -> None:
    wanted = [{"name": "class", "parameters": {"binary_data": True}}, {"name": "probabilities"}]
    with serving(tmp_path) as client:
        deploy(client, tmp_path, file(MulticlassTask(CLASSES)), "1")
        answer = client.post("/v2/models/demo/infer", json={"inputs": tensors(ROWS[:1]), "outputs": wanted})

    length = int(answer.headers["inference-header-content-length"])
    likeliest, probabilities = json.loads(answer.content[:length])["outputs"]
    text = CLASSES[int(np.argmax(probabilities["data"]))].encode()
    assert answer.content[length:] == struct.pack("<I", len(text)) + text
    assert likeliest["parameters"] == {"binary_data_size": 4 + len(text)}


@pytest.mark.parametrize(("datatype", "kind"), [("FP32", "<f4"), ("INT16", "<i2"), ("UINT8", "<u1"), ("BOOL", "?")])
def test_numbers_may_have_any_size(client: TestClient, datatype: str, kind: str) -> None:
    content = np.array([1], kind).tobytes()
    inputs = with_hour(datatype=datatype, data=None, parameters={"binary_data_size": len(content)})
    head = json.dumps({"inputs": inputs}).encode()

    answer = client.post(INFER, content=head + content, headers={"Inference-Header-Content-Length": str(len(head))})

    assert answer.json()["outputs"][0]["data"] == pytest.approx([expected(1.5, 1, 1)])


@pytest.mark.parametrize(
    ("changed", "content", "why"),
    [
        ({}, struct.pack("<d", float("inf")), "row 0, field 'hour': not a finite number within ±1e+30"),
        ({}, b"1234567", "input 'hour': its bytes are not a whole number of FP64"),
        ({"parameters": {"binary_data_size": 99}}, b"", "input 'hour': binary_data_size is not what follows the JSON"),
        ({"parameters": {"binary_data_size": -1}}, b"", "input 'hour': binary_data_size is not what follows the JSON"),
        ({"parameters": {"binary_data_size": "8"}}, b"", "input 'hour': binary_data_size is not what follows the JSON"),
        ({"datatype": "BYTES"}, b"\x09\0\0\0a", "input 'hour': its bytes are not text, each after its length"),
        ({"datatype": "BYTES"}, b"\x01\0\0\0\xff", "input 'hour': its bytes are not text, each after its length"),
        ({"datatype": "BYTES"}, b"\x01", "input 'hour': its bytes are not text, each after its length"),
    ],
)
def test_binary_that_is_not_what_it_says_is_named(
    client: TestClient, changed: dict[str, Any], content: bytes, why: str
) -> None:
    inputs = with_hour(data=None, **{"parameters": {"binary_data_size": len(content)}, **changed})
    head = json.dumps({"inputs": inputs}).encode()

    answer = client.post(INFER, content=head + content, headers={"Inference-Header-Content-Length": str(len(head))})

    assert (answer.status_code, line(answer)) == (400, why)


@pytest.mark.parametrize("length", ["", "-1", "x", "9" * 5000, "999999999"])
def test_a_length_that_is_none_stands_for_all_of_the_body(client: TestClient, length: str) -> None:
    headers = {"Inference-Header-Content-Length": length}

    assert client.post(INFER, json={"inputs": tensors([ROW])}, headers=headers).status_code == 200


def test_a_model_of_text_takes_binary_text(tmp_path: Path) -> None:
    only = [{"name": "carrier", "kind": "category", "categories": ["AA", "Ö"]}]
    with serving(tmp_path) as client:
        deploy(client, tmp_path, portable_bytes(inputs=only, weights=(1.0,)), "1")
        content, headers = binary([{"carrier": "AA"}, {"carrier": "Ö"}, {"carrier": ""}])
        found = client.post(INFER, content=content, headers=headers).json()["outputs"][0]["data"]

    assert found[0] < found[1]
    assert found[2] == found[0]  # not known, and the tiny model takes that for zero
