"""Answers made without FastAPI: JSON bodies as they are, and every error as `{"detail": "one line"}`."""

from __future__ import annotations

import logging

import msgspec
from fastapi.exceptions import RequestValidationError
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Match
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from formats.portable_model import ServingError

Headers = list[tuple[bytes, bytes]]

log = logging.getLogger("serving")


async def read_body(receive: Receive) -> bytes:
    """A request's whole body."""
    message = await receive()
    body: bytes = message.get("body", b"")
    while message.get("more_body"):
        message = await receive()
        body += message.get("body", b"")
    return body


async def send_json(send: Send, status: int, content: bytes, headers: Headers | None = None) -> None:
    """Send a body that is already JSON."""
    always = [(b"content-type", b"application/json"), (b"content-length", b"%d" % len(content))]
    await send({"type": "http.response.start", "status": status, "headers": always + (headers or [])})
    await send({"type": "http.response.body", "body": content})


async def refuse(send: Send, status: int, detail: str, headers: Headers | None = None) -> None:
    """Send one line with the reason."""
    await send_json(send, status, msgspec.json.encode({"detail": detail}), headers)


async def refuse_error(send: Send, error: ServingError) -> None:
    """Send the answer to an error that has a status and a line for the caller."""
    retry = [] if error.retry_after is None else [(b"retry-after", b"%d" % error.retry_after)]
    await refuse(send, error.status, _line(error), retry)


async def serving_error(_: Request, error: Exception) -> JSONResponse:
    """The answer to an error that has a status and a line for the caller."""
    if not isinstance(error, ServingError):
        raise error
    headers = {} if error.retry_after is None else {"Retry-After": str(error.retry_after)}
    return JSONResponse({"detail": _line(error)}, error.status, headers)


async def invalid_request(_: Request, error: Exception) -> JSONResponse:
    """The answer to an error of pydantic: the first one and its place, never the value."""
    if not isinstance(error, RequestValidationError):
        raise error
    first = error.errors()[0]
    place = ".".join(str(part) for part in first["loc"][1:]) or str(first["loc"][0])
    return JSONResponse({"detail": f"{place}: {first['msg']}"}, 422)


async def wrong_method(request: Request, _: Exception) -> JSONResponse:
    """The answer to a method that a path does not have; `Allow` names those that it has."""
    there = [route for route in request.app.routes if route.matches(request.scope)[0] is not Match.NONE]
    methods = {method for route in there for method in route.methods or ()}
    allowed = sorted(methods | ({"HEAD"} if "GET" in methods else set()))
    return JSONResponse({"detail": f"this path takes {', '.join(allowed)}"}, 405, {"Allow": ", ".join(allowed)})


class Shield:
    """Lets no exception out: ours become the answers they name, an unexpected one is 500 and one line in the log.

    That line gives type and place, not the text, which may repeat what the caller sent.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        started = False

        async def noted_send(message: Message) -> None:
            nonlocal started
            started = True
            await send(message)

        try:
            await self._app(scope, receive, noted_send)
        except ServingError as error:
            if not started:
                await refuse_error(send, error)
        except Exception as error:
            log.error("internal error: %s at %s", type(error).__name__, _place(error))  # noqa: TRY400 (no stack trace)
            if not started:
                await refuse(send, 500, "internal error; the server's log has more")


def _line(error: ServingError) -> str:
    """Its text as one line: it may name what the caller asked for."""
    return " ".join(str(error).splitlines())


def _place(error: BaseException) -> str:
    step = error.__traceback__
    while step is not None and step.tb_next is not None:
        step = step.tb_next
    return "?" if step is None else f"{step.tb_frame.f_globals.get('__name__')}:{step.tb_lineno}"
