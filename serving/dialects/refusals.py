"""Errors in the words of the dialect that was asked; all else in the server says `{"detail": "one line"}`."""

from __future__ import annotations

from collections.abc import Callable
from http import HTTPStatus
from typing import Any

import msgspec
from starlette.types import ASGIApp, Message, Receive, Scope, Send

Words = Callable[[int, str], dict[str, Any]]
"""The body of an error, from its status and its line."""
SCORING = ("/invocations", "/ping", "/health", "/version")
_CODES = {
    400: "BAD_REQUEST",
    401: "UNAUTHENTICATED",
    403: "PERMISSION_DENIED",
    404: "RESOURCE_DOES_NOT_EXIST",
    429: "REQUEST_LIMIT_EXCEEDED",
    500: "INTERNAL_ERROR",
    503: "TEMPORARILY_UNAVAILABLE",
    504: "DEADLINE_EXCEEDED",
}
"""MLflow's names; the first stands for every other status."""


def words(path: str) -> Words | None:
    """How errors are said at a path; None: as they are."""
    if path == "/v2" or path.startswith("/v2/"):
        return lambda _, line: {"error": line}
    if path in SCORING:
        return lambda status, line: {"error_code": _CODES.get(status, _CODES[400]), "message": line}
    return None


def status_of(status: int) -> int:
    """The status of an error in a dialect: neither has 422."""
    return 400 if status == 422 else status


class Refusals:
    """Rewrites what inner layers refuse, at the paths of dialects."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on."""
        said = words(scope["path"]) if scope["type"] == "http" else None
        await self._app(scope, receive, send if said is None else _Rewriting(said, send))


class _Rewriting:
    """Sends an answer on; of an error, which is one line of JSON, the line in other words."""

    def __init__(self, said: Words, send: Send) -> None:
        self._said = said
        self._send = send
        self._start: Message | None = None

    async def __call__(self, message: Message) -> None:
        if message["type"] == "http.response.start" and message["status"] >= 400:
            self._start = message
            return
        if (start := self._start) is not None:
            self._start = None
            status = status_of(start["status"])
            body = msgspec.json.encode(self._said(status, _line(status, message["body"])))
            headers = {**dict(start["headers"]), b"content-type": b"application/json"}
            headers[b"content-length"] = b"%d" % len(body)
            await self._send({**start, "status": status, "headers": list(headers.items())})
            message = {**message, "body": body}
        await self._send(message)


def _line(status: int, body: bytes) -> str:
    """The line of an error; a fault that no layer of ours answered has none."""
    try:
        return str(msgspec.json.decode(body)["detail"])
    except (msgspec.MsgspecError, KeyError, TypeError):
        return HTTPStatus(status).phrase
