"""`POST /v1/predict`: a plain ASGI endpoint, because it carries the load.

The body is decoded by msgspec into types made from the model's card, encoded to one matrix, and answered by the model.
What FastAPI would do around it (a request object, dependencies, pydantic) costs several times the prediction.
"""

from __future__ import annotations

import asyncio
from concurrent.futures import ThreadPoolExecutor
from contextvars import copy_context
from functools import partial

import msgspec
from starlette.routing import Route
from starlette.types import Receive, Scope, Send

from formats.portable_model import Found
from formats.request_rows import RequestModel
from serving.answer import send_json
from serving.errors import OverloadError
from serving.rollout.served import Served
from serving.rollout.service import Service
from serving.telemetry.metrics import Shed, Telemetry

PATH = "/v1/predict"
INLINE_BYTES = 65_536
"""Bodies up to here are answered in the event loop, within about a millisecond; a thread would cost more than that."""


class Predict:
    """The endpoint; large requests are answered by one thread, in the order they come, and a bounded number waits."""

    def __init__(self, service: Service, telemetry: Telemetry, queue: int) -> None:
        self._service = service
        self._telemetry = telemetry
        self._queue = queue
        self._large = 0
        self._thread = ThreadPoolExecutor(1, "predict")
        self._encode = msgspec.json.Encoder().encode

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request; the application answers `ServingError`s."""
        body = await _body(receive)
        key = scope["state"].get("request_id", "")
        if len(body) <= INLINE_BYTES:
            served, answers = self._answer(key, body)
        else:
            served, answers = await self._in_turn(key, body)
        version, kind = served.entry.version, served.model.kind
        await send_json(send, 200, self._encode(kind.told(version, answers)))
        self._telemetry.predicted(version, body, answers, key, served.entry.use_case, kind=kind)

    async def _in_turn(self, key: str, body: bytes) -> tuple[Served, Found]:
        if self._large > self._queue:
            self._telemetry.shed(Shed.QUEUE_FULL)
            raise OverloadError("too many large predictions wait; try again")
        self._large += 1
        self._telemetry.queue(self._large - 1)
        try:
            # The thread sees the request's context: which trace it is part of.
            answer = partial(copy_context().run, self._answer, key, body)
            return await asyncio.get_running_loop().run_in_executor(self._thread, answer)
        finally:
            self._large -= 1
            self._telemetry.queue(max(self._large - 1, 0))

    def _answer(self, key: str, body: bytes) -> tuple[Served, Found]:
        def ask(model: RequestModel) -> Found:
            return model.answer(body)

        return self._service.answer(key, ask, body)


def route(service: Service, telemetry: Telemetry, queue: int) -> Route:
    """The endpoint at its path; `queue` large requests may wait."""
    return Route(PATH, Predict(service, telemetry, queue), methods=["POST"], include_in_schema=False)


async def _body(receive: Receive) -> bytes:
    message = await receive()
    body: bytes = message.get("body", b"")
    while message.get("more_body"):
        message = await receive()
        body += message.get("body", b"")
    return body
