"""The OpenAPI document: FastAPI's entries, and one for the hot route, which FastAPI does not know.

That entry is made from the types the route decodes with, which are made from the card of the model in service. So the
document names the features while a model is served, and leaves them open before.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec
from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi

from formats.answers.binary import BinaryKind
from formats.answers.kinds import AnswerKind
from formats.portable_model import InputKind, ModelInput, ServingError
from formats.request_rows import MAX_ROWS, RequestModel, RowReader
from serving.access.access import PROBES
from serving.dialects.operations import COMPONENTS, document, in_words
from serving.models import Models
from serving.predict import NAMED_PATH, PATH
from serving.settings import ServingSettings

_JSON = "application/json"
_METHODS = frozenset({"get", "post", "put", "delete"})
_VERSION = "7"


class Problem(msgspec.Struct, frozen=True):
    """Why a request was not answered, in one line."""

    detail: str


def install(app: FastAPI, models: Models, settings: ServingSettings) -> None:
    """Have the application answer `/openapi.json` with its whole document, made again when another model serves."""
    made: dict[str, dict[str, Any]] = {}

    def document() -> dict[str, Any]:
        try:
            served = models.only().served
        except ServingError:
            model, key = None, ""
        else:
            model, key = served.model, served.model.sha256
        if key not in made:
            made.clear()
            made[key] = build(app, model, secured=settings.secured)
        return made[key]

    app.openapi = document  # type: ignore[method-assign]


def build(app: FastAPI, model: RequestModel | None, *, secured: bool) -> dict[str, Any]:
    """The document, with what the model takes and answers (none: any rows), and credentials if they are asked for."""
    kind = model.kind if model is not None else BinaryKind()
    found = get_openapi(title=app.title, version=app.version, summary=app.summary, routes=app.routes)
    schemas = found.setdefault("components", {}).setdefault("schemas", {})
    for name in ("HTTPValidationError", "ValidationError"):  # FastAPI's own, which no answer here has
        schemas.pop(name, None)
    schemas |= _schemas(model.reader if model is not None else None, kind)
    for name, value in _EXAMPLES.items():
        schemas[name]["examples"] = [value]
    document(app.routes, found)
    found["paths"] |= {PATH: {"post": _predict(kind)}, NAMED_PATH: {"post": _named_predict(kind)}}
    found["paths"] |= {"/metrics": {"get": _METRICS}}
    found["components"]["securitySchemes"] = {
        "bearer": {"type": "http", "scheme": "bearer", "description": "An API key, or a token."},
        "key": {"type": "apiKey", "in": "header", "name": "X-API-Key"},
    }
    for path, methods in found["paths"].items():
        for method, operation in methods.items():
            if method in _METHODS:
                _complete(path, method, operation, secured=secured)
    return found


def _schemas(reader: RowReader | None, kind: AnswerKind) -> dict[str, Any]:
    types = [kind.body, Problem] + ([reader.type] if reader is not None else [])
    _, found = msgspec.json.schema_components(types, ref_template=COMPONENTS)
    if reader is None:
        rows = {"type": "array", "minItems": 1, "maxItems": MAX_ROWS, "items": {"type": "object"}}
        found["PredictRequest"] = {"type": "object", "properties": {"rows": rows}, "required": ["rows"]}
    found[kind.body.__name__]["examples"] = [msgspec.to_builtins(kind.example)]
    found["PredictRequest"]["examples"] = [{"rows": [example(reader.inputs)]}] if reader is not None else []
    return dict(found)


def example(inputs: tuple[ModelInput, ...]) -> dict[str, Any]:
    """A row that the route takes."""
    return {column.name: _value(column) for column in inputs}


def _value(column: ModelInput) -> Any:
    if column.kind is InputKind.CATEGORY:
        return column.categories[0] if column.categories else None
    return 1.0


def _predict(kind: AnswerKind) -> dict[str, Any]:
    about = (
        "1 to 1,000 rows, each with exactly the features the model takes. A feature whose value is not known is null; "
        "a category that the model never saw counts as null, as when it was trained."
    )
    return {
        "tags": ["predictions"],
        "summary": "One answer a row",
        "description": about,
        "operationId": "predict",
        "requestBody": {"required": True, "content": {_JSON: {"schema": _reference("PredictRequest")}}},
        "responses": {
            "200": {"description": "One answer a row, in order", "content": _content(kind.body.__name__)},
            "422": _problem(
                "The body is not what the model takes", "row 3, field 'stock': expected a number or null, got text"
            ),
        },
    }


def _named_predict(kind: AnswerKind) -> dict[str, Any]:
    """The same for a use case that the path names."""
    schema = {"type": "string", "minLength": 1}
    named = {"name": "use_case", "in": "path", "required": True, "schema": schema}
    return _predict(kind) | {"operationId": "predict_by_use_case", "parameters": [named]}


def _complete(path: str, method: str, operation: dict[str, Any], *, secured: bool) -> None:
    """Add what all routes share: answers of the layers around them, and the credential."""
    answers = operation["responses"]
    if "422" in answers and path not in (PATH, NAMED_PATH):
        answers["422"] = _problem("The request is not what this takes", "limit: Input should be a valid integer")
    if path not in PROBES:
        more = dict(_ALWAYS)
        if method in ("post", "put"):
            more |= _BODIES
        if secured:
            more |= _REFUSED
            operation["security"] = [{"bearer": []}, {"key": []}]
        for status, answer in more.items():
            answers.setdefault(status, answer)
    else:
        answers.setdefault("503", _ALWAYS["503"])
    operation["responses"] = dict(sorted(in_words(path, answers).items()))


def _reference(name: str) -> dict[str, str]:
    return {"$ref": COMPONENTS.format(name=name)}


def _content(name: str) -> dict[str, Any]:
    return {_JSON: {"schema": _reference(name)}}


def _problem(description: str, detail: str, *, retry: bool = False) -> dict[str, Any]:
    content = {_JSON: {"schema": _reference("Problem"), "example": {"detail": detail}}}
    headers = {"Retry-After": {"description": "Seconds to wait", "schema": {"type": "integer"}}}
    return {"description": description, "content": content} | ({"headers": headers} if retry else {})


_ALWAYS: Mapping[str, Any] = {
    "429": _problem("Too many requests of this caller", "more requests than this caller may make", retry=True),
    "500": _problem("A fault of the server", "internal error; the server's log has more"),
    "503": _problem("No answer now", "no model is served: nothing was deployed yet", retry=True),
    "504": _problem("No answer in time", "no answer within 10 s"),
}
_BODIES: Mapping[str, Any] = {
    "408": _problem("The body came too slowly", "the body did not come within 10 s"),
    "413": _problem("The body is too large", "the body is larger than 4194304 bytes"),
}
_REFUSED: Mapping[str, Any] = {
    "401": _problem("No good credential", "wrong or missing bearer token or API key"),
    "403": _problem("The credential may not do this", "this credential does not have the scope 'predict'"),
}
_METRICS: dict[str, Any] = {
    "tags": ["operations"],
    "summary": "What Prometheus reads",
    "description": "Counts of all workers, in the text format or OpenMetrics, as the `Accept` header wants them.",
    "operationId": "metrics",
    "responses": {
        "200": {
            "description": "The metrics",
            "content": {
                "text/plain": {"schema": {"type": "string"}, "example": "serving_requests_in_flight 1.0"},
                "application/openmetrics-text": {"schema": {"type": "string"}},
            },
        }
    },
}

_AT = "2026-11-21T01:30:00Z"
_FILE: Mapping[str, Any] = {"sha256": "0" * 64, "use_case": "ice_cream"}
_SERVED: Mapping[str, Any] = {"version": _VERSION, "uri": "s3://models/7.onnx", **_FILE, "since": _AT, "by": "nightly"}
_RELEASE: Mapping[str, Any] = {
    "id": "3f0c9a52b1d84c6e9a7d1f4e2b6c8d90",
    "at": _AT,
    "event": "promoted",
    "version": _VERSION,
    "use_case": "ice_cream",
    "by": "nightly",
    "serving": _SERVED,
}
_FOLLOWED: Mapping[str, Any] = {"version": _VERSION, "entry": 12, "read_seconds_ago": 0.8, "error": ""}
_EXAMPLES: Mapping[str, Any] = {
    "Alive": {"status": "alive"},
    "Ready": {"status": "ready", "models": {"ice_cream": _FOLLOWED}},
    "InService": _SERVED,
    "Release": _RELEASE,
    "DeploymentList": {"deployments": [_RELEASE]},
    "ModelList": {"models": [_SERVED]},
}
