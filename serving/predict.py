"""`POST /v1/predict`: a plain ASGI endpoint, since this is where the load is.

The body is decoded by msgspec into types made from the model's card, encoded to one matrix, and answered by the model.
What FastAPI would do around it (a request object, dependencies, pydantic) costs several times the prediction.
"""

from __future__ import annotations

import asyncio
from concurrent.futures import ThreadPoolExecutor

import msgspec
from starlette.routing import Route
from starlette.types import Message, Receive, Scope, Send

from serving.metrics import Telemetry
from serving.model import PortableModel
from serving.service import Answers, Served, Service

PATH = "/v1/predict"
INLINE_BYTES = 65_536
"""Bodies up to here are answered in the event loop, within about a millisecond; a thread would cost more than that."""


class PredictAnswer(msgspec.Struct, frozen=True):
    """One probability a row, in the order asked, and the version that answered."""

    model_version: str
    probabilities: list[float]


class Predict:
    """The endpoint; large requests are answered by one thread, in the order they come."""

    def __init__(self, service: Service, telemetry: Telemetry) -> None:
        self._service = service
        self._telemetry = telemetry
        self._thread = ThreadPoolExecutor(1, "predict")
        self._encode = msgspec.json.Encoder().encode

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request; `ServingError`s are for the application to answer."""
        body = await _body(receive)
        key = scope["state"].get("request_id", "")
        if len(body) <= INLINE_BYTES:
            served, answers = self._answer(key, body)
        else:
            served, answers = await asyncio.get_running_loop().run_in_executor(self._thread, self._answer, key, body)
        probabilities = answers.tolist()
        await _send(send, self._encode(PredictAnswer(served.entry.version, probabilities)))
        self._telemetry.predicted(served.entry.version, body, probabilities, key)

    def _answer(self, key: str, body: bytes) -> tuple[Served, Answers]:
        def ask(model: PortableModel) -> Answers:
            return model.answer(body)

        return self._service.answer(key, ask, body)


def route(service: Service, telemetry: Telemetry) -> Route:
    """The endpoint at its path."""
    return Route(PATH, Predict(service, telemetry), methods=["POST"], include_in_schema=False)


async def _body(receive: Receive) -> bytes:
    message = await receive()
    body: bytes = message.get("body", b"")
    while message.get("more_body"):
        message = await receive()
        body += message.get("body", b"")
    return body


async def _send(send: Send, content: bytes) -> None:
    start: Message = {
        "type": "http.response.start",
        "status": 200,
        "headers": [(b"content-type", b"application/json"), (b"content-length", b"%d" % len(content))],
    }
    await send(start)
    await send({"type": "http.response.body", "body": content})
