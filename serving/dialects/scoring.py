"""MLflow's scoring protocol, which is SageMaker's for containers too: `/invocations`, `/ping`, `/version`."""

from __future__ import annotations

import csv
import io
import json
import math
from typing import Any, NoReturn

import msgspec
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response

from formats.portable_model import InputKind
from formats.request_rows import RequestModel, RowError
from serving.dialects.asking import Asking, Columns, decoded, encode
from serving.dialects.operations import Operation
from serving.errors import MediaTypeError
from serving.health import require_ready
from serving.models import Models

VERSION = "x-model-version"
"""The header that names the version that answered, as MLflow's body has no place for it."""
NOT_KNOWN = frozenset({"", "NA", "N/A", "NULL", "None", "null"})
"""How tables of text write that a number is not known; `nan` is read as a number that is none."""


class SplitFrame(msgspec.Struct):
    """A table as its columns' names and its rows; an index does not matter."""

    columns: list[str]
    data: list[list[Any]]


class ScoringRequest(msgspec.Struct, omit_defaults=True):
    """Rows in one of MLflow's four forms: a table, records, or columns; `NaN` is a value that is not known."""

    dataframe_split: SplitFrame | None = None
    dataframe_records: list[dict[str, Any]] | None = None
    instances: list[dict[str, Any]] | dict[str, Any] | None = None
    inputs: list[dict[str, Any]] | dict[str, Any] | None = None


class ScoringAnswer(msgspec.Struct):
    """One answer a row, by the name of what is predicted."""

    predictions: list[dict[str, Any]]


_decode = msgspec.json.Decoder(ScoringRequest).decode


def routes(models: Models, asking: Asking) -> list[Operation]:
    """The four paths; a prediction is asked of the one model that there is."""

    async def invocations(request: Request) -> Response:
        content = await request.body()
        media = request.headers.get("content-type", "application/json").partition(";")[0].strip().lower()
        if media not in ("application/json", "text/csv"):
            raise MediaTypeError("content-type: this takes application/json or text/csv")

        def read(model: RequestModel) -> Columns:
            return _table(content, model) if media == "text/csv" else _columns(decoded(_tolerant, content))

        served, found = await asking(request.scope, len(content), read, models.only())
        columns = served.model.answers.columns(found)
        predictions = [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]
        headers = {VERSION: served.entry.version}
        return Response(encode(ScoringAnswer(predictions)), headers=headers, media_type="application/json")

    async def ping(request: Request) -> Response:
        require_ready(request, models)
        return PlainTextResponse("\n")

    async def version(request: Request) -> Response:
        return PlainTextResponse(request.app.version)

    asked = ScoringRequest(dataframe_split=SplitFrame(["temperature", "kiosk"], [[21.5, "Arno"], [None, "Dora"]]))
    answer = ScoringAnswer([{"probability": 0.21}, {"probability": 0.4}])
    return [
        Operation(
            "POST", "/invocations", invocations, "One answer a row", answer=answer, asked=asked, media=["text/csv"]
        ),
        *(Operation(method, "/ping", ping, "Whether every model answers", answer="\n") for method in ("GET", "POST")),
        Operation("GET", "/health", ping, "Whether every model answers", answer="\n"),
        Operation("GET", "/version", version, "The version of the server", answer="0.1.0"),
    ]


def _tolerant(content: bytes) -> ScoringRequest:
    """A body, in which `NaN` may stand for null: MLflow's clients write what pandas holds."""
    try:
        return _decode(content)
    except msgspec.ValidationError:
        raise
    except msgspec.DecodeError:
        if b"NaN" not in content:
            raise
    try:
        return msgspec.convert(json.loads(content, parse_constant=_constant), ScoringRequest)
    except json.JSONDecodeError as error:
        raise msgspec.DecodeError from error


def _constant(text: str) -> None:
    if text != "NaN":
        raise RowError("body: Infinity is no value of an input; send null where a value is not known")


def _columns(asked: ScoringRequest) -> Columns:
    given = [one for one in msgspec.structs.astuple(asked) if one is not None]
    if len(given) != 1:
        raise RowError(f"body: takes exactly one of {', '.join(asked.__struct_fields__)}")
    (rows,) = given
    if isinstance(rows, SplitFrame):
        return _by_name(rows.columns, rows.data)
    if isinstance(rows, list):
        names = list(rows[0]) if rows else []
        if odd := next((place for place, row in enumerate(rows) if row.keys() != rows[0].keys()), None):
            raise RowError(f"row {odd}: has other fields than row 0; send null where a value is not known")
        return _by_name(names, [[row[name] for name in names] for row in rows])
    if not any(isinstance(values, list) for values in rows.values()):
        return {name: [value] for name, value in rows.items()}
    return {name: values if isinstance(values, list) else _not_a_list() for name, values in rows.items()}


def _not_a_list() -> NoReturn:
    raise RowError("body: each input has a list of values, or each has one value")


def _table(content: bytes, model: RequestModel) -> Columns:
    """A table with a line of names; an empty field is a value that is not known."""
    try:
        names, *rows = [row for row in csv.reader(io.StringIO(content.decode("utf-8-sig")), strict=True) if row]
    except (UnicodeDecodeError, csv.Error, ValueError):
        raise RowError("body: not CSV in UTF-8 with a line of names and a line for each row") from None
    columns = _by_name(names, rows)
    numbers = {one.name for one in model.inputs if one.kind is InputKind.NUMBER}
    return {
        name: [_number(text) if name in numbers else text or None for text in texts] for name, texts in columns.items()
    }


def _number(text: str) -> float | str | None:
    if text in NOT_KNOWN:
        return None
    try:
        value = float(text)
    except ValueError:
        return text  # refused with its row and field
    return None if math.isnan(value) else value


def _by_name(names: list[str], rows: list[list[Any]]) -> Columns:
    if len(set(names)) < len(names):
        raise RowError("columns: a name is there twice")
    if odd := next((f"row {place}" for place, row in enumerate(rows) if len(row) != len(names)), None):
        raise RowError(f"{odd}: has not one value for each of the {len(names)} columns")
    return {name: [row[place] for row in rows] for place, name in enumerate(names)}
