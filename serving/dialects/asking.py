"""What all dialects share: each reads columns, and the split, the limits and telemetry are the server's."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from random import random
from typing import Any, TypeVar

import msgspec
from starlette.types import Scope

from formats.portable_model import Found
from formats.request_rows import RequestModel, RowError
from serving.errors import NotFoundError
from serving.models import Models
from serving.release.answering import Answering
from serving.release.served import Served
from serving.telemetry import tracing
from serving.telemetry.metrics import Telemetry
from serving.turns import INLINE_BYTES, Turns

T = TypeVar("T")
Columns = Mapping[str, Sequence[Any]]
"""Raw values by input, one a row."""
Read = Callable[[RequestModel], Columns]
"""Reads a request; it may have to know what the model takes."""

SHADOWED = 0.1
"""The share of small requests that a shadow may score again: writing them as rows costs as much as answering them."""

encode = msgspec.json.Encoder().encode


class Asking:
    """Answers what a dialect has read, in its turn, and reports it."""

    def __init__(self, models: Models, telemetry: Telemetry, turns: Turns) -> None:
        self._models = models
        self._telemetry = telemetry
        self._turns = turns

    async def __call__(
        self, scope: Scope, size: int, read: Read, answering: Answering, version: str = ""
    ) -> tuple[Served, Found]:
        """The answers to a body of that size, and the model that gave them.

        `version` is the one that the caller wants, which then answers whatever the split; `NotFoundError` when it is
        not in service.
        """
        if self._models.looks_first:
            await self._models.look(answering)
        key = scope["state"].get("request_id", "")
        work = partial(_answered, answering, key, read, version, shadowed=size <= INLINE_BYTES and random() < SHADOWED)  # noqa: S311 (a sample, no secret)
        served, found, columns = await self._turns.run(size, work)
        entry, rows = served.entry, partial(as_rows, columns)
        self._telemetry.predicted(entry.version, rows, found, key, entry.use_case, kind=served.model.kind)
        return served, found


def _answered(
    answering: Answering, key: str, read: Read, version: str, *, shadowed: bool
) -> tuple[Served, Found, Columns]:
    served = in_service(answering, version)
    columns = read(served.model)

    def ask(model: RequestModel) -> Found:
        return model.answer_columns(columns)

    if version:
        with tracing.span("model", version=version):
            return served, ask(served.model), columns
    return *answering.answer(key, ask, as_rows(columns) if shadowed else b""), columns


def in_service(answering: Answering, version: str) -> Served:
    """What is in service; `NotFoundError` when the caller wants another version."""
    served = answering.served
    if version and version != served.entry.version:
        raise NotFoundError(f"this version is not in service; version {served.entry.version} is")
    return served


def as_rows(columns: Columns) -> bytes:
    """The same as a body of `/v1/predict`, for samples and shadows."""
    return encode({"rows": [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=False)]})


def decoded(decode: Callable[[bytes], T], content: bytes) -> T:
    """A body of JSON as its type; `RowError` says what is wrong and repeats nothing that was sent."""
    try:
        return decode(content)
    except msgspec.ValidationError as error:
        why = str(error)
    except RecursionError:
        why = "nested too deep"
    except (msgspec.DecodeError, UnicodeDecodeError):
        constant = b"NaN" in content or b"Infinity" in content
        why = "NaN and Infinity are no JSON; send null where a value is not known" if constant else "not JSON"
    raise RowError(f"body: {why}")
