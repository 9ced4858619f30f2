from __future__ import annotations

import asyncio
import os
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp, Receive, Scope, Send

from serving.telemetry import metrics, trace, tracing
from serving.telemetry.logs import Log
from serving.telemetry.metrics import Telemetry
from serving.telemetry.observation import Observation


async def flight(request: Request) -> Response:
    request.state.caller = "app"
    return JSONResponse({"request_id": request.state.request_id, "outgoing": tracing.outgoing()})


async def failing(_: Request) -> Response:
    raise ValueError("what the caller sent")


class Door:
    """Lets nobody through who is closed out, as a limit would."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        closed = (b"x-closed", b"1") in scope["headers"]
        await (Response(status_code=503) if closed else self.app)(scope, receive, send)


class Server:
    """A small application under observation, and what was seen of it."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.descriptor = os.open(path, os.O_CREAT | os.O_WRONLY)
        self.log = Log(descriptor=self.descriptor)
        self.telemetry = Telemetry()
        inner = Starlette(
            routes=[
                Route("/v1/flights/{flight_id}/delay", flight),
                Route("/fails", failing),
                metrics.route(self.telemetry),
            ]
        )
        inner.add_middleware(Door)
        inner.add_middleware(Observation, telemetry=self.telemetry, log=self.log)
        transport = httpx.ASGITransport(inner, raise_app_exceptions=False)
        self.client = httpx.AsyncClient(transport=transport, base_url="http://serving")

    async def ask(self, method: str, path: str, **headers: str) -> httpx.Response:
        return await self.client.request(method, path, headers={k.replace("_", "-"): v for k, v in headers.items()})

    def logged(self) -> str:
        self.log.writer.start()
        self.log.stop()
        return self.path.read_text()


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    server = Server(tmp_path / "log")
    yield server
    os.close(server.descriptor)


def test_an_answer_names_its_request_and_upstreams_are_told(server: Server) -> None:
    given = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"

    answer = asyncio.run(server.ask("GET", "/v1/flights/UA1/delay", x_request_id="order-17", traceparent=given))

    assert answer.headers["x-request-id"] == answer.json()["request_id"] == "order-17"
    outgoing = answer.json()["outgoing"]
    assert outgoing["x-request-id"] == "order-17"
    assert outgoing["traceparent"].startswith("00-4bf92f3577b34da6a3ce929d0e0e4736-")
    assert outgoing["traceparent"] != given
    assert trace.current.get() is None


def test_requests_are_counted_by_route_never_by_what_the_path_holds(server: Server) -> None:
    async def everything() -> str:
        await server.ask("GET", "/v1/flights/UA1/delay")
        await server.ask("GET", "/v1/flights/a-secret/delay")
        await server.ask("POST", "/v1/flights/UA1/delay")
        await server.ask("GET", "/no/such/secret?token=secret")
        await server.ask("SECRET", "/fails")
        return (await server.ask("GET", "/metrics")).text

    page = asyncio.run(everything())

    route = 'route="/v1/flights/{flight_id}/delay"'
    assert f'serving_requests_total{{method="GET",{route},status="200"}} 2.0' in page
    assert f'serving_requests_total{{method="POST",{route},status="405"}} 1.0' in page
    assert 'serving_requests_total{method="GET",route="unmatched",status="404"} 1.0' in page
    assert 'serving_requests_total{method="OTHER",route="/fails",status="405"} 1.0' in page
    assert "serving_requests_in_flight 1.0" in page
    assert "secret" not in page.lower()
    assert "secret" not in server.logged().lower()


def test_what_is_refused_before_it_finds_its_route_is_counted_for_it_all_the_same(server: Server) -> None:
    async def everything() -> str:
        await server.ask("GET", "/v1/flights/UA1/delay", x_closed="1")
        await server.ask("GET", "/no/such", x_closed="1")
        return (await server.ask("GET", "/metrics")).text

    page = asyncio.run(everything())

    assert 'serving_requests_total{method="GET",route="/v1/flights/{flight_id}/delay",status="503"} 1.0' in page
    assert 'serving_requests_total{method="GET",route="unmatched",status="503"} 1.0' in page


def test_a_failure_counts_as_one_and_its_text_is_not_logged(server: Server) -> None:
    async def everything() -> tuple[int, str]:
        status = (await server.ask("GET", "/fails")).status_code
        return status, (await server.ask("GET", "/metrics")).text

    status, page = asyncio.run(everything())

    assert status == 500
    assert 'serving_requests_total{method="GET",route="/fails",status="500"} 1.0' in page
    assert '"status":500' in server.logged()
    assert "what the caller sent" not in server.logged()


def test_the_access_log_names_who_asked(server: Server) -> None:
    asyncio.run(server.ask("GET", "/v1/flights/UA1/delay"))

    assert '"caller":"app"' in server.logged()
