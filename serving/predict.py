"""`POST /v1/predict` and `/v1/models/{use_case}/predict`: plain ASGI endpoints, because they carry the load.

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
from serving.models import Models
from serving.release.answering import Answering
from serving.release.served import Served
from serving.settings import ServingSettings
from serving.telemetry.metrics import Shed, Telemetry

PATH = "/v1/predict"
"""Where there is one use case."""
NAMED_PATH = "/v1/models/{use_case}/predict"
INLINE_BYTES = 65_536
"""Bodies up to here are answered in the event loop, within about a millisecond; a thread would cost more than that."""


class Predict:
    """The endpoint; large requests are answered by one thread, in the order they come, and a bounded number waits."""

    def __init__(self, models: Models, telemetry: Telemetry, settings: ServingSettings) -> None:
        self._models = models
        self._telemetry = telemetry
        self._queue = settings.queue
        self._stale = settings.stale_seconds
        self._large = 0
        self._thread = ThreadPoolExecutor(1, "predict")
        self._encode = msgspec.json.Encoder().encode

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request; the application answers `ServingError`s."""
        body = await _body(receive)
        named = scope.get("path_params")
        answering = self._models.of(named["use_case"]) if named else self._models.only()
        if self._stale is not None:
            await self._models.look(answering, self._stale)
        key = scope["state"].get("request_id", "")
        if len(body) <= INLINE_BYTES:
            served, answers = _answer(answering, key, body)
        else:
            served, answers = await self._in_turn(answering, key, body)
        version, kind = served.entry.version, served.model.kind
        await send_json(send, 200, self._encode(kind.told(version, answers)))
        self._telemetry.predicted(version, body, answers, key, served.entry.use_case, kind=kind)

    async def _in_turn(self, answering: Answering, key: str, body: bytes) -> tuple[Served, Found]:
        if self._large > self._queue:
            self._telemetry.shed(Shed.QUEUE_FULL)
            raise OverloadError("too many large predictions wait; try again")
        self._large += 1
        self._telemetry.queue(self._large - 1)
        try:
            # The thread sees the request's context: which trace it is part of.
            answer = partial(copy_context().run, _answer, answering, key, body)
            return await asyncio.get_running_loop().run_in_executor(self._thread, answer)
        finally:
            self._large -= 1
            self._telemetry.queue(max(self._large - 1, 0))


def routes(models: Models, telemetry: Telemetry, settings: ServingSettings) -> list[Route]:
    """The endpoint at its paths."""
    endpoint = Predict(models, telemetry, settings)
    return [Route(path, endpoint, methods=["POST"], include_in_schema=False) for path in (PATH, NAMED_PATH)]


def _answer(answering: Answering, key: str, body: bytes) -> tuple[Served, Found]:
    def ask(model: RequestModel) -> Found:
        return model.answer(body)

    return answering.answer(key, ask, body)


async def _body(receive: Receive) -> bytes:
    message = await receive()
    body: bytes = message.get("body", b"")
    while message.get("more_body"):
        message = await receive()
        body += message.get("body", b"")
    return body
