"""Limits of one caller, and of all together: excess is refused early, so that the rest is answered.

They apply to one worker process: N workers let N times as much through.
"""

from __future__ import annotations

import asyncio
import itertools
import math
import time
from contextlib import suppress
from typing import Any

import msgspec
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from serving.access.access import PROBES
from serving.access.address import party
from serving.access.caller import ANONYMOUS
from serving.access.rate import Rate
from serving.answer import Headers, refuse
from serving.errors import SlowError
from serving.settings import ServingSettings
from serving.telemetry.metrics import Shed, Telemetry

RETRY_SECONDS = 1
"""`Retry-After` of a caller that was shed: by then a full queue is long gone."""
LINGER_SECONDS = 2.0
"""How long a body that is refused is read and thrown away, so that its sender gets to read why."""
_CLOSE = [(b"connection", b"close")]
_BODILESS = frozenset({"GET", "HEAD", "DELETE", "OPTIONS"})
"""Methods of which no endpoint here reads a body."""
BODIES_BYTES = 64 * 2**20
"""Memory for all incomplete bodies together."""


class Timeouts:
    """Cancels tasks that take longer than this many seconds, to a quarter of a second.

    One timer for all of them: a timer each, as `asyncio.timeout` has it, costs 7 µs a request (measured 2026-11-21).
    """

    TICK_SECONDS = 0.25

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._running: dict[asyncio.Task[Any], float] = {}
        self._overdue: set[asyncio.Task[Any]] = set()
        self._timer: asyncio.TimerHandle | None = None

    def begin(self, task: asyncio.Task[Any], now: float) -> None:
        """Watch a task from now on (seconds)."""
        self._running[task] = now
        if self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(self.TICK_SECONDS, self._tick)

    def end(self, task: asyncio.Task[Any]) -> bool:
        """Watch it no more; whether it was cancelled here."""
        self._running.pop(task, None)
        overdue = task in self._overdue
        self._overdue.discard(task)
        return overdue

    def _tick(self) -> None:
        self._timer = None
        oldest = time.monotonic() - self._seconds
        # In the order in which they began, so the first that is not overdue ends the search.
        for task in list(itertools.takewhile(lambda task: self._running[task] < oldest, self._running)):
            del self._running[task]
            self._overdue.add(task)
            task.cancel()
        if self._running:
            self._timer = asyncio.get_running_loop().call_later(self.TICK_SECONDS, self._tick)


class RequestLimits:
    """Admits a request if its caller's rate, the load and its body's size allow it, and limits its time.

    The body is read here, whole and once, before the request counts as work, so a slow sender holds nothing up.
    """

    def __init__(self, app: ASGIApp, settings: ServingSettings, telemetry: Telemetry) -> None:
        self._app = app
        self._settings = settings
        self._telemetry = telemetry
        self._rate = Rate(settings.rate, settings.rate_burst_seconds)
        self._timeouts = Timeouts(settings.request_seconds)
        self._at_work = 0
        self._held = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on; 429, 503, 413 or 408 says which limit it exceeded, `SlowError` that it took too long."""
        if scope["type"] != "http" or scope["path"] in PROBES:
            await self._app(scope, receive, send)
            return
        now = time.monotonic()
        if wait := self._rate.wait(*_caller(scope, now)):
            self._telemetry.rate_limited()
            await refuse(send, 429, "more requests than this caller may make", _retry(wait))
            return
        if self._at_work >= self._settings.in_flight:
            await self._shed(send)
            return
        if scope["method"] in _BODILESS:
            await self._work(scope, receive, send, now)
            return
        message = await receive()
        if message.get("more_body") or len(message.get("body", b"")) > self._settings.body_bytes:
            await self._large(scope, receive, send, message)
        else:
            await self._work(scope, _Replay(message, receive), send, now)

    async def _large(self, scope: Scope, receive: Receive, send: Send, first: Message) -> None:
        """Go on with a body that did not come at once."""
        body = _Body(first)
        self._held += len(body.content)
        try:
            async with asyncio.timeout(self._settings.body_seconds):
                status = await self._read(_length(scope), body, receive)
        except TimeoutError:
            status = 408
        finally:
            self._held -= len(body.content)
        if status == 200:
            message = {"type": "http.request", "body": bytes(body.content), "more_body": False}
            await self._work(scope, _Replay(message, receive), send, time.monotonic())
        elif status == 503:
            await self._shed(send)
        elif status == 408:
            await refuse(send, 408, f"the body did not come within {self._settings.body_seconds:g} s", _CLOSE)
        elif status == 413:
            await _too_large(receive, send, self._settings.body_bytes, whole=body.whole)

    async def _read(self, length: int, body: _Body, receive: Receive) -> int:
        """Read on until the body is whole: 200, or the status of the limit that it met; 0 when the client left."""
        while True:
            if max(length, len(body.content)) > self._settings.body_bytes:
                return 413
            if body.whole:
                return 200
            if self._held > BODIES_BYTES:
                return 503
            message = await receive()
            if message["type"] == "http.disconnect":
                return 0
            self._held += body.add(message)

    async def _work(self, scope: Scope, receive: Receive, send: Send, now: float) -> None:
        task = asyncio.current_task()
        assert task is not None  # ASGI applications run in tasks
        self._at_work += 1
        self._timeouts.begin(task, now)
        try:
            await self._app(scope, receive, send)
        except asyncio.CancelledError:
            if not self._timeouts.end(task):
                raise
            task.uncancel()
            self._telemetry.shed(Shed.TIMEOUT)
            raise SlowError(f"no answer within {self._settings.request_seconds:g} s") from None
        finally:
            self._at_work -= 1
            self._timeouts.end(task)

    async def _shed(self, send: Send) -> None:
        self._telemetry.shed(Shed.QUEUE_FULL)
        await refuse(send, 503, "too many requests at once; try again", _retry(RETRY_SECONDS))


class _Body:
    """What has arrived of a body, and whether that is all."""

    __slots__ = ("content", "whole")

    def __init__(self, first: Message) -> None:
        self.content = bytearray()
        self.whole = False
        self.add(first)

    def add(self, message: Message) -> int:
        """Add what arrived now; its length."""
        chunk: bytes = message.get("body", b"")
        self.content += chunk
        self.whole = not message.get("more_body")
        return len(chunk)


class _Replay:
    """The body that was read, once, and then whatever the server has."""

    __slots__ = ("_message", "_receive")

    def __init__(self, message: Message, receive: Receive) -> None:
        self._message: Message | None = message
        self._receive = receive

    async def __call__(self) -> Message:
        message, self._message = self._message, None
        return message if message is not None else await self._receive()


async def _too_large(receive: Receive, send: Send, limit: int, *, whole: bool) -> None:
    """Answer, and discard what still arrives for a while: a connection closed at once would lose the answer."""
    content = msgspec.json.encode({"detail": f"the body is larger than {limit} bytes"})
    headers = [(b"content-type", b"application/json"), (b"content-length", b"%d" % len(content)), *_CLOSE]
    await send({"type": "http.response.start", "status": 413, "headers": headers})
    await send({"type": "http.response.body", "body": content, "more_body": True})
    with suppress(TimeoutError):
        async with asyncio.timeout(LINGER_SECONDS):
            while not whole:
                message = await receive()
                whole = message["type"] == "http.disconnect" or not message.get("more_body")
    await send({"type": "http.response.body", "body": b""})


def _caller(scope: Scope, now: float) -> tuple[str, float, float | None]:
    """The charged bucket, the time, and its own rate; callers without a credential are distinguished by address."""
    state = scope["state"]
    name = state["caller"]
    if name == ANONYMOUS.name and scope.get("client"):
        name = party(scope["client"][0])
    return name, now, state["rate"]


def _length(scope: Scope) -> int:
    """What the client says its body's length is, 0 if it does not."""
    value = next((value for name, value in scope["headers"] if name == b"content-length"), b"0")
    return int(value) if value.isdigit() else 0


def _retry(seconds: float) -> Headers:
    return [(b"retry-after", b"%d" % max(math.ceil(seconds), 1))]
