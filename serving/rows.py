"""Rows of a prediction request: each field known, there, and of its kind."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from serving.errors import RowError
from serving.model import InputKind, ModelInput


def check_rows(rows: Sequence[Mapping[str, Any]], inputs: Sequence[ModelInput]) -> None:
    """Pass when every row holds exactly the inputs, each null or of its kind; otherwise `RowError` with row and field.

    Rows count from 0. A number may be given as true or false (1 or 0).
    """
    known = {column.name: column for column in inputs}
    for index, row in enumerate(rows):
        if row.keys() != known.keys():
            raise RowError(_wrong_fields(index, row, known))
        for name, value in row.items():
            if value is not None and not _fits(value, known[name].kind):
                raise RowError(f"row {index}, field {name!r}: {_shown(value)} is no {_WORDS[known[name].kind]}")


def _wrong_fields(index: int, row: Mapping[str, Any], known: Mapping[str, ModelInput]) -> str:
    for name in row:
        if name not in known:
            return f"row {index}, field {_shown(name)}: unknown; the model takes {', '.join(known)}"
    absent = next(name for name in known if name not in row)
    return f"row {index}, field {absent!r}: missing; send null where the value is not known"


def _fits(value: Any, kind: InputKind) -> bool:
    if kind is InputKind.CATEGORY:
        return isinstance(value, str)
    try:
        return isinstance(value, int | float) and math.isfinite(value)
    except OverflowError:
        return False


def _shown(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."


_WORDS = {InputKind.NUMBER: "finite number", InputKind.CATEGORY: "text"}
