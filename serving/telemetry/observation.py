"""Work around every request: it gets its trace and is counted, timed, and noted in the access log."""

from __future__ import annotations

from time import perf_counter

from starlette.routing import BaseRoute, Match
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from serving.telemetry import trace, tracing
from serving.telemetry.logs import Log
from serving.telemetry.metrics import Telemetry

UNMATCHED = "unmatched"
"""Stands for every path without a route: callers can send any number of different paths."""
METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})
GAVE_UP = 499
"""The status of a request whose caller left before its answer began, as nginx counts it."""
FAILED = 500


class Observation:
    """The outermost ASGI layer, so it also sees what inner layers refuse; answers carry `x-request-id`."""

    def __init__(self, app: ASGIApp, telemetry: Telemetry, log: Log) -> None:
        self._app = app
        self._telemetry = telemetry
        self._log = log

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on and observe it."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        started = perf_counter()
        who = trace.Trace.of(scope["headers"])
        span = tracing.request(who)
        scope.setdefault("state", {})["request_id"] = who.request_id
        status = GAVE_UP

        async def observed_send(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                message["headers"] = [*message.get("headers", ()), (b"x-request-id", who.request_id.encode())]
            await send(message)

        token = trace.current.set(who)
        self._telemetry.in_flight(1)
        try:
            await self._app(scope, receive, observed_send)
        except Exception:
            status = FAILED
            raise
        finally:
            self._telemetry.in_flight(-1)
            trace.current.reset(token)
            seconds = perf_counter() - started
            route, method = _route(scope), scope["method"] if scope["method"] in METHODS else "OTHER"
            self._telemetry.request(route, method, status, seconds)
            caller = scope["state"].get("caller", "")
            self._log.request(who, method, route, status, seconds, caller=caller)
            if span is not None:
                span.end(method, route, status)


def _route(scope: Scope) -> str:
    """The template of the route that took the request, or would have, had it not been refused before."""
    route = scope.get("route") or next((one for one in scope["app"].routes if _matches(one, scope)), None)
    return getattr(route, "path", UNMATCHED)


def _matches(route: BaseRoute, scope: Scope) -> bool:
    return route.matches(scope)[0] is not Match.NONE
