"""What a model file says of itself."""

from __future__ import annotations

from datetime import date
from enum import StrEnum
from typing import Any

from pydantic import BaseModel, ConfigDict


class InputKind(StrEnum):
    """How an input's raw values become the number the graph takes."""

    NUMBER = "number"
    CATEGORY = "category"


class ModelInput(BaseModel):
    """One raw feature column; `categories` lists a category's known values in the order of their codes."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str
    kind: InputKind
    categories: tuple[str, ...] = ()


class ModelCard(BaseModel):
    """The metadata of an ONNX file under `nightshift`."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    use_case: str
    key: str
    inputs: tuple[ModelInput, ...]
    recipe: Any = None
    trained_through: date | None = None
