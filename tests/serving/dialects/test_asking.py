"""Dialects share the split, the limits and telemetry with `/v1/predict`."""

from __future__ import annotations

import gzip
import json
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from fastapi import FastAPI
from fastapi.testclient import TestClient
from starlette.types import ASGIApp, Receive, Send
from starlette.types import Scope as Connection

from formats.portable_model import Found, ServingError
from formats.release import InService
from formats.request_rows import RequestModel
from serving.access.caller import Scope
from serving.access.keys import KeyFile
from serving.answer import Shield, serving_error
from serving.dialects import asking, inference, scoring
from serving.dialects.asking import Asking
from serving.dialects.refusals import Refusals
from serving.errors import NotFoundError
from serving.release.served import Served
from serving.telemetry.metrics import Telemetry
from serving.turns import INLINE_BYTES, Turns
from tests.portable_files import portable_bytes
from tests.serving.dialects.dialects import INFER, columns, deploy, scoring_bodies, serving, tensors

ROW: dict[str, Any] = {"distance": 1.5, "hour": 2.0, "carrier": "B6"}
NULLS: dict[str, Any] = {"distance": None, "hour": 2.0, "carrier": None}


def version(number: str, bias: float) -> Served:
    """A version that is loaded."""
    model = RequestModel.load(portable_bytes(bias=bias))
    entry = InService(
        version=number, uri="", sha256=model.sha256, use_case="flight_delay", since=datetime.now(UTC), by=""
    )
    return Served(entry, model)


class Split:
    """A use case in the middle of a canary: requests whose id begins with `new` go to version 8."""

    def __init__(self) -> None:
        self.served = version("7", 0.1)
        self.on_trial = version("8", 0.9)
        self.asked: list[bytes] = []

    def answer(
        self, key: str | bytes, ask: Callable[[RequestModel], Found], asked: bytes = b""
    ) -> tuple[Served, Found]:
        self.asked.append(asked)
        served = self.on_trial if str(key).startswith("new") else self.served
        return served, ask(served.model)


class Two:
    """A server of two use cases."""

    looks_first = False

    def __init__(self, one: Split) -> None:
        self.one = one

    def names(self) -> list[str]:
        return ["flight_delay", "ice_cream"]

    def of(self, use_case: str) -> Split:
        if use_case != "flight_delay":
            raise NotFoundError("this server has flight_delay")
        return self.one

    def only(self) -> Split:
        return self.one


class Named:
    """Gives requests their ids, as the outermost layer of the server does."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Connection, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            headers = dict(scope["headers"])
            scope.setdefault("state", {})["request_id"] = headers.get(b"x-request-id", b"").decode()
        await self._app(scope, receive, send)


@pytest.fixture
def split() -> Split:
    return Split()


@pytest.fixture
def client(split: Split) -> Iterator[TestClient]:
    """Somebody who asks dialects of a server in the middle of a canary."""
    telemetry = Telemetry()
    models: Any = Two(split)
    asks = Asking(models, telemetry, Turns(telemetry, 1))
    app = FastAPI()
    app.router.routes += [*inference.hot_routes(models, asks), *inference.routes(models), *scoring.routes(models, asks)]
    app.add_exception_handler(ServingError, serving_error)
    app.state.draining = False
    with TestClient(Named(Refusals(Shield(app)))) as found:
        yield found


@pytest.mark.parametrize("key", ["new-1", "old-1"])
def test_a_request_id_is_on_one_side_of_the_split_in_every_dialect(client: TestClient, key: str) -> None:
    headers = {"x-request-id": key}

    inferred = client.post(INFER, json={"inputs": tensors([ROW])}, headers=headers).json()["model_version"]
    scored = {
        name: client.post("/invocations", content=content, headers=more | headers).headers["x-model-version"]
        for name, (content, more) in scoring_bodies([ROW]).items()
    }

    assert {inferred, *scored.values()} == {"8" if key.startswith("new") else "7"}


def test_a_version_asked_by_name_answers_whatever_the_split(client: TestClient) -> None:
    path = "/v2/models/flight_delay/versions/7/infer"

    answer = client.post(path, json={"inputs": tensors([ROW])}, headers={"x-request-id": "new-1"}).json()

    assert answer["model_version"] == "7"


def test_a_version_on_trial_cannot_be_asked_by_name(client: TestClient) -> None:
    answer = client.post("/v2/models/flight_delay/versions/8/infer", json={"inputs": tensors([ROW])})

    assert answer.status_code == 404


@pytest.mark.parametrize("share", [0.0, 1.0])
def test_a_shadow_gets_some_of_the_rows_as_predict_takes_them(
    client: TestClient, split: Split, share: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(asking, "SHADOWED", share)

    client.post(INFER, json={"inputs": tensors([ROW, NULLS])}).raise_for_status()
    client.post("/invocations", json={"inputs": columns([ROW, NULLS])}).raise_for_status()

    if share:
        assert [json.loads(asked) for asked in split.asked] == [{"rows": [ROW, NULLS]}] * 2
        model = split.served.model
        assert model.answer(split.asked[0]).tolist() == model.rows([ROW, NULLS]).tolist()
    else:
        assert split.asked == [b"", b""]


def test_a_shadow_gets_no_large_request(client: TestClient, split: Split, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(asking, "SHADOWED", 1.0)
    content = json.dumps({"inputs": tensors([ROW])}).encode()

    answer = client.post(INFER, content=content + b" " * INLINE_BYTES)

    assert answer.status_code == 200
    assert split.asked == [b""]


def test_what_is_asked_in_a_dialect_is_sampled_and_counted(tmp_path: Path) -> None:
    with serving(tmp_path, lake=str(tmp_path / "lake"), sample_share=1.0) as client:
        deploy(client, tmp_path, portable_bytes(), "7")
        client.post(INFER, json={"inputs": tensors([ROW])}, headers={"x-request-id": "one"}).raise_for_status()
        client.post("/invocations", json={"inputs": [NULLS]}, headers={"x-request-id": "two"}).raise_for_status()
        metrics = client.get("/metrics").text

    samples = [
        json.loads(line)
        for path in (tmp_path / "lake").glob("samples/flight_delay/*/*.jsonl.gz")
        for line in gzip.decompress(path.read_bytes()).splitlines()
    ]
    assert [(one["request_id"], one["version"], one["inputs"]) for one in samples] == [
        ("one", "7", ROW),
        ("two", "7", NULLS),
    ]
    assert 'serving_prediction_probability_count{use_case="flight_delay",version="7"} 2.0' in metrics
    assert 'route="/v2/models/{model}/infer"' in metrics
    assert 'route="/invocations"' in metrics


def test_a_fault_is_one_line_in_the_dialects_words(split: Split, client: TestClient) -> None:
    split.on_trial = None  # type: ignore[assignment]

    broken = TestClient(client.app, raise_server_exceptions=False)
    answer = broken.post("/invocations", json={"inputs": ROW}, headers={"x-request-id": "new-1"})

    assert (answer.status_code, answer.json()) == (
        500,
        {"error_code": "INTERNAL_ERROR", "message": "Internal Server Error"},
    )


def test_errors_of_all_layers_are_in_the_dialects_words(tmp_path: Path) -> None:
    keys = tmp_path / "keys.json"
    key = KeyFile(keys).new("somebody", frozenset({Scope.PREDICT}))
    with serving(tmp_path, keys=keys, body_bytes=100) as client:
        known = {"Authorization": f"Bearer {key}"}
        answers = [
            client.post(path, content=content, headers=headers)
            for path in (INFER, "/invocations")
            for content, headers in ((b"{}", {}), (b" " * 101, known))
        ]
        probes = [client.get(path).status_code for path in ("/v2/health/live", "/v2/health/ready", "/ping", "/health")]
        own = client.post("/v1/predict", content=b"{}")

    needed = "wrong or missing bearer token or API key"
    large = "the body is larger than 100 bytes"
    assert [(answer.status_code, answer.json()) for answer in answers] == [
        (401, {"error": needed}),
        (413, {"error": large}),
        (401, {"error_code": "UNAUTHENTICATED", "message": needed}),
        (413, {"error_code": "BAD_REQUEST", "message": large}),
    ]
    assert probes == [200, 503, 503, 503]
    assert own.json() == {"detail": needed}
