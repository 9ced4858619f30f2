from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from opentelemetry.proto.trace.v1.trace_pb2 import Span
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from serving.settings import ServingSettings
from serving.telemetry import tracing
from serving.telemetry.logs import Log
from serving.telemetry.metrics import Telemetry
from serving.telemetry.observation import Observation
from tests.serving_process import ROOT, free_port
from tests.span_collector import SpanCollector
from tests.waiting import PATIENCE

CALLERS_TRACE, CALLERS_SPAN = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"


@pytest.fixture
def collector() -> Iterator[SpanCollector]:
    with SpanCollector() as collector:
        yield collector


async def predict(_: Request) -> Response:
    with tracing.span("model", version="7"):
        pass
    with tracing.span("upstream", upstream="sensor"):
        told = tracing.outgoing()
    return JSONResponse(told)


async def failing(_: Request) -> Response:
    with tracing.span("model", version="7"):
        raise ValueError("what the caller sent")


def ask(endpoint: str, path: str, *, share: float = 1.0, **headers: str) -> httpx.Response:
    """One request to an application under observation that sends its spans there, from its start to its end."""
    settings = ServingSettings(
        otlp_endpoint=endpoint, trace_share=share, state=Path("/nonexistent"), releases="/nowhere"
    )
    telemetry = Telemetry.of(settings)
    log = Log(descriptor=2, access=False)
    inner = Starlette(routes=[Route("/v1/predict", predict), Route("/fails", failing)])
    transport = httpx.ASGITransport(Observation(inner, telemetry, log), raise_app_exceptions=False)

    async def life() -> httpx.Response:
        await telemetry.start()
        async with httpx.AsyncClient(transport=transport, base_url="http://serving") as client:
            answer = await client.get(path, headers=headers)
        await telemetry.stop()
        return answer

    return asyncio.run(life())


def attributes(span: Span) -> dict[str, object]:
    return {a.key: a.value.string_value or a.value.int_value for a in span.attributes}


def test_a_request_its_model_and_its_upstream_are_one_trace(collector: SpanCollector) -> None:
    answer = ask(collector.url, "/v1/predict", traceparent=f"00-{CALLERS_TRACE}-{CALLERS_SPAN}-01")

    request, model, upstream = (collector.named(name) for name in ("GET /v1/predict", "model", "upstream"))
    assert collector.services == {"nightshift-serving"}
    assert {span.trace_id.hex() for span in collector.spans} == {CALLERS_TRACE}
    assert request.parent_span_id.hex() == CALLERS_SPAN
    assert model.parent_span_id == upstream.parent_span_id == request.span_id
    assert request.kind == Span.SPAN_KIND_SERVER
    assert attributes(request) == {
        "http.request.method": "GET",
        "http.route": "/v1/predict",
        "http.response.status_code": 200,
    }
    assert attributes(model) == {"version": "7"}
    assert answer.json()["traceparent"] == f"00-{CALLERS_TRACE}-{upstream.span_id.hex()}-01"


def test_a_request_without_a_trace_begins_one_and_is_named_after_it(collector: SpanCollector) -> None:
    answer = ask(collector.url, "/v1/predict")

    request = collector.named("GET /v1/predict")
    assert request.parent_span_id == b""
    assert answer.headers["x-request-id"] == request.trace_id.hex()


def test_a_failure_is_an_error_span_that_does_not_hold_what_the_caller_sent(collector: SpanCollector) -> None:
    ask(collector.url, "/fails")

    assert collector.named("GET /fails").status.code == 2
    assert collector.named("model").status.message == "ValueError"
    assert "what the caller sent" not in "".join(str(span) for span in collector.spans)


@pytest.mark.parametrize(("flags", "recorded"), [("01", True), ("00", False)])
def test_a_callers_decision_to_record_or_not_is_followed(collector: SpanCollector, flags: str, recorded: bool) -> None:
    share = 0.0 if recorded else 1.0

    ask(collector.url, "/v1/predict", share=share, traceparent=f"00-{CALLERS_TRACE}-{CALLERS_SPAN}-{flags}")

    assert bool(collector.spans) == recorded


@pytest.mark.slow
def test_a_collector_that_is_down_fails_no_request_and_holds_up_no_end() -> None:
    started = time.monotonic()

    answer = ask(f"http://127.0.0.1:{free_port()}", "/v1/predict")

    assert answer.status_code == 200
    assert time.monotonic() - started < PATIENCE


@pytest.mark.stack
def test_when_off_it_is_not_even_imported() -> None:
    script = """
import sys, serving.__main__, serving.telemetry.observation
print(*sorted(name for name in sys.modules if name.startswith("opentelemetry")))
"""
    ended = subprocess.run(
        [sys.executable, "-c", script], cwd=ROOT, env=dict(os.environ), capture_output=True, text=True, check=True
    )

    assert ended.stdout.strip() == ""
    assert tracing.request(None) is None  # type: ignore[arg-type]
    with tracing.span("model", version="7"):
        assert tracing.outgoing() == {}
