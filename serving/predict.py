"""`POST /v1/predict` and `/v1/models/{use_case}/predict`: plain ASGI endpoints, because they carry the load.

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
from serving.models import Models
from serving.release.answering import Answering
from serving.release.served import Served
from serving.telemetry.metrics import Telemetry
from serving.turns import Turns

PATH = "/v1/predict"
"""Where there is one use case."""
NAMED_PATH = "/v1/models/{use_case}/predict"


class Predict:
    """The endpoint."""

    def __init__(self, models: Models, telemetry: Telemetry, turns: Turns) -> None:
        self._models = models
        self._telemetry = telemetry
        self._turns = turns
        self._encode = msgspec.json.Encoder().encode

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request; the application answers `ServingError`s."""
        body = await read_body(receive)
        named = scope.get("path_params")
        answering = self._models.of(named["use_case"]) if named else self._models.only()
        if self._models.looks_first:
            await self._models.look(answering)
        key = scope["state"].get("request_id", "")
        served, answers = await self._turns.run(len(body), partial(_answer, answering, key, body))
        version, kind = served.entry.version, served.model.kind
        await send_json(send, 200, self._encode(kind.told(version, answers)))
        self._telemetry.predicted(version, body, answers, key, served.entry.use_case, kind=kind)


def routes(models: Models, telemetry: Telemetry, turns: Turns) -> list[Route]:
    """The endpoint at its paths."""
    endpoint = Predict(models, telemetry, turns)
    return [Route(path, endpoint, methods=["POST"], include_in_schema=False) for path in (PATH, NAMED_PATH)]


def _answer(answering: Answering, key: str, body: bytes) -> tuple[Served, Found]:
    def ask(model: RequestModel) -> Found:
        return model.answer(body)

    return answering.answer(key, ask, body)
