"""`POST /v1/predict`: a plain ASGI endpoint, because it carries the load.

The body is decoded by msgspec into types made from the model's card, encoded to one matrix, and answered by the model.
What FastAPI would do around it (a request object, dependencies, pydantic) costs several times the prediction.
"""

from __future__ import annotations

from functools import partial

import msgspec
from starlette.routing import Route
from starlette.types import Receive, Scope, Send

from formats.portable_model import Found
from formats.request_rows import RequestModel
from serving.answer import read_body, send_json
from serving.rollout.served import Served
from serving.rollout.service import Service
from serving.telemetry.metrics import Telemetry
from serving.turns import Turns

PATH = "/v1/predict"


class Predict:
    """The endpoint."""

    def __init__(self, service: Service, telemetry: Telemetry, turns: Turns) -> None:
        self._service = service
        self._telemetry = telemetry
        self._turns = turns
        self._encode = msgspec.json.Encoder().encode

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request; the application answers `ServingError`s."""
        body = await read_body(receive)
        key = scope["state"].get("request_id", "")
        served, answers = await self._turns.run(len(body), partial(self._answer, key, body))
        version, kind = served.entry.version, served.model.kind
        await send_json(send, 200, self._encode(kind.told(version, answers)))
        self._telemetry.predicted(version, body, answers, key, served.entry.use_case, kind=kind)

    def _answer(self, key: str, body: bytes) -> tuple[Served, Found]:
        def ask(model: RequestModel) -> Found:
            return model.answer(body)

        return self._service.answer(key, ask, body)


def route(service: Service, telemetry: Telemetry, turns: Turns) -> Route:
    """The endpoint at its path."""
    return Route(PATH, Predict(service, telemetry, turns), methods=["POST"], include_in_schema=False)
