"""What serving uses of FastAPI and Starlette beyond their manuals."""

from __future__ import annotations

import inspect
from typing import Any

from fastapi import FastAPI
from fastapi.routing import APIRoute
from starlette.applications import Starlette
from starlette.routing import Match, Route


def test_starlette_still_asks_for_its_layers_by_this_method() -> None:
    assert list(inspect.signature(FastAPI.build_middleware_stack).parameters) == ["self"]
    assert "self.build_middleware_stack()" in inspect.getsource(Starlette.__call__)


def test_fastapi_still_notes_the_route_that_took_a_request_in_the_scope() -> None:
    assert 'child_scope["route"] = self' in inspect.getsource(APIRoute.matches)


def test_starlette_still_takes_an_application_as_a_route_s_endpoint() -> None:
    class Endpoint:
        async def __call__(self, scope: Any, receive: Any, send: Any) -> None: ...

    endpoint = Endpoint()
    route = Route("/v1/predict", endpoint, methods=["POST"])
    assert route.endpoint is endpoint
    assert route.matches({"type": "http", "path": "/v1/predict", "method": "POST", "headers": []})[0] is Match.FULL
