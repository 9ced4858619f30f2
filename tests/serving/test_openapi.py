from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import schemathesis
from hypothesis import HealthCheck, given, seed, settings
from hypothesis import strategies as st
from hypothesis.errors import Unsatisfiable
from jsonschema import Draft202012Validator
from schemathesis import GenerationMode
from schemathesis.core.result import Ok

from formats.request_rows import RequestModel, RowError
from serving.app import create_app
from serving.dialects.refusals import SCORING
from serving.openapi import build, example
from serving.settings import ServingSettings
from tests.portable_files import portable_bytes, write
from tests.serving_process import ROUTES, ServingProcess

MODEL = RequestModel.load(portable_bytes())
SEED = 4


@pytest.fixture(scope="module")
def document() -> dict[str, Any]:
    """The document while the tiny model is served and credentials are asked for."""
    app = create_app(ServingSettings.load(ROUTES | {"SERVING_RELEASES": "releases"}))
    return build(app, MODEL, secured=True)


def schema(document: dict[str, Any], name: str) -> dict[str, Any]:
    """A component with everything it refers to."""
    return {"$ref": f"#/components/schemas/{name}", "components": document["components"]}


def operations(document: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    for path, methods in document["paths"].items():
        for method, operation in methods.items():
            yield f"{method.upper()} {path}", operation


PROBES = {"/healthz", "/readyz", "/metrics", "/v2/health/live", "/v2/health/ready", "/ping", "/health"}


def problem(path: str) -> set[str]:
    """What an error has at a path, in the words of its dialect."""
    if path.startswith("/v2"):
        return {"error"}
    return {"error_code", "message"} if path in SCORING else {"detail"}


def accepted(body: object) -> bool:
    try:
        MODEL.reader.read(json.dumps(body).encode())
    except RowError:
        return False
    return True


# The hot route's entry, held against what the route does


@pytest.mark.slow
def test_the_route_takes_what_the_document_allows_and_nothing_else(document: dict[str, Any]) -> None:
    validator = Draft202012Validator(schema(document, "PredictRequest"))
    values = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text()
    numbers = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False)
    good = st.fixed_dictionaries({"distance": numbers, "hour": numbers, "carrier": st.none() | st.text()})
    loose = st.fixed_dictionaries(
        {"distance": values, "hour": values}, optional={"carrier": values, "tail": values, "Hour": values}
    )
    bodies = st.fixed_dictionaries(
        {"rows": st.lists(good | loose, max_size=3) | values}, optional={"explain": st.booleans()}
    )

    @seed(SEED)
    @settings(max_examples=300, deadline=None, database=None)
    @given(bodies)
    def same(body: object) -> None:
        answers.add(accepted(body))
        assert accepted(body) == validator.is_valid(body), body

    answers: set[bool] = set()
    same()
    assert answers == {True, False}


def test_the_example_is_answered(document: dict[str, Any]) -> None:
    assert document["components"]["schemas"]["PredictRequest"]["examples"] == [{"rows": [example(MODEL.inputs)]}]
    assert accepted({"rows": [example(MODEL.inputs)]})


def test_the_number_of_rows_is_told(document: dict[str, Any]) -> None:
    rows = document["components"]["schemas"]["PredictRequest"]["properties"]["rows"]

    assert (rows["minItems"], rows["maxItems"]) == (1, 1000)


# All of it


def test_every_route_is_there(document: dict[str, Any]) -> None:
    assert {name for name, _ in operations(document)} >= {
        "POST /v1/predict",
        "GET /v1/flights/{flight_id}/delay",
        "GET /v1/airports/{code}/delays",
        "GET /v1/location",
        "GET /v1/sensor",
        "GET /v1/prediction",
        "GET /v1/forecast",
        "GET /v1/models/{use_case}/predictions/{key}",
        "GET /v1/models/{use_case}/groups/{column}/{value}",
        "GET /v1/model",
        "GET /v1/models",
        "GET /v1/models/{use_case}",
        "GET /v1/models/{use_case}/release",
        "GET /v1/models/{use_case}/deployments",
        "POST /v1/models/{use_case}/predict",
        "GET /healthz",
        "GET /readyz",
        "GET /metrics",
        "GET /v2",
        "GET /v2/health/live",
        "GET /v2/health/ready",
        "GET /v2/models/{model}",
        "GET /v2/models/{model}/ready",
        "POST /v2/models/{model}/infer",
        "GET /v2/models/{model}/versions/{version}",
        "GET /v2/models/{model}/versions/{version}/ready",
        "POST /v2/models/{model}/versions/{version}/infer",
        "POST /invocations",
        "GET /ping",
        "POST /ping",
        "GET /health",
        "GET /version",
    }


def test_every_answer_has_a_type_and_every_good_one_an_example(document: dict[str, Any]) -> None:
    for name, operation in operations(document):
        for status, answer in operation["responses"].items():
            (content, *_) = answer["content"].values()
            assert content["schema"], (name, status)
            if status >= "400":
                assert set(content["example"]) == problem(name.split()[1]), (name, status)
            else:
                assert _has_example(document, content), (name, status)


def _has_example(document: dict[str, Any], content: dict[str, Any]) -> bool:
    if "example" in content or "examples" in content:
        return True
    options = content["schema"].get("anyOf", [content["schema"]])
    components = [document["components"]["schemas"][one["$ref"].rsplit("/", 1)[1]] for one in options]
    return all("examples" in one or '"examples"' in json.dumps(one["properties"]) for one in components)


def test_every_example_is_what_its_schema_says(document: dict[str, Any]) -> None:
    for name, component in document["components"]["schemas"].items():
        for value in component.get("examples", ()):
            Draft202012Validator(schema(document, name)).validate(value)
    for _, operation in operations(document):
        for content in [*operation["responses"].values(), operation.get("requestBody", {})]:
            for media in content.get("content", {}).values():
                if "example" in media:
                    whole = {**media["schema"], "components": document["components"]}
                    Draft202012Validator(whole).validate(media["example"])


def test_every_route_but_the_probes_tells_which_credential_it_asks_for(document: dict[str, Any]) -> None:
    for name, operation in operations(document):
        probe = name.split()[1] in PROBES
        assert ("security" in operation) != probe, name
        assert ("401" in operation["responses"]) != probe, name


def test_without_credentials_nothing_asks_for_one() -> None:
    document = build(create_app(ServingSettings(releases="releases")), MODEL, secured=False)

    assert not [name for name, operation in operations(document) if "security" in operation]


def test_before_a_model_is_served_the_features_are_left_open() -> None:
    document = create_app(ServingSettings(releases="releases")).openapi()

    assert "Row" not in document["components"]["schemas"]
    Draft202012Validator(schema(document, "PredictRequest")).validate({"rows": [{"anything": 1}]})


def test_the_server_answers_the_document_of_the_model_in_service(serving: ServingProcess, tmp_path: Path) -> None:
    before = serving.get("/openapi.json").json()
    serving.deploy(*write(tmp_path, portable_bytes()), "7")
    after = serving.get("/openapi.json").json()

    assert "Row" not in before["components"]["schemas"]
    assert list(after["components"]["schemas"]["Row"]["properties"]) == ["distance", "hour", "carrier"]


# schemathesis against a real server


@pytest.fixture(scope="module")
def api(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """The operations of a server that serves a model, as schemathesis reads its document."""
    folder = tmp_path_factory.mktemp("schemathesis")
    server = ServingProcess(folder / "state", **ROUTES).start()
    server.deploy(*write(folder, portable_bytes()), "7")
    found = list(schemathesis.openapi.from_url(f"{server.url}/openapi.json").get_all_operations())
    operations = [one.ok() for one in found if isinstance(one, Ok)]
    assert len(operations) == len(found)
    yield operations
    server.stop()
    assert "internal error" not in server.log.read_text()
    assert "Traceback" not in server.log.read_text()


@pytest.mark.slow
@pytest.mark.stack
@pytest.mark.parametrize("mode", list(GenerationMode))
def test_nothing_that_is_made_up_breaks_the_server(api: Any, mode: GenerationMode) -> None:
    tried = {f"{one.method.upper()} {one.path}" for one in api if _tried(one, mode)}

    # Some operations take nothing that could be wrong.
    assert "POST /v1/predict" in tried
    assert "POST /v1/models/{use_case}/predict" in tried
    assert mode is GenerationMode.NEGATIVE or len(tried) >= 14


def _tried(operation: Any, mode: GenerationMode) -> bool:
    @seed(SEED)
    @settings(max_examples=15, deadline=None, database=None, suppress_health_check=list(HealthCheck))
    @given(operation.as_strategy(generation_mode=mode))
    def never_breaks(case: Any) -> None:
        answer = case.call()
        # 503 is no fault where nothing is published or served: it says so. Any other 5xx is one.
        assert answer.status_code < 500 or answer.status_code == 503, answer.text
        assert str(answer.status_code) in {*operation.definition.raw["responses"], "404", "405"}, answer.text
        if answer.status_code >= 400:
            assert set(answer.json()) == problem(operation.path)
            assert "\n" not in " ".join(answer.json().values())
        if answer.status_code < 300:
            operation.validate_response(answer)

    try:
        never_breaks()
    except Unsatisfiable:
        return False
    return True
