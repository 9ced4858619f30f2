"""A published model file, and feature partitions as the columns it takes."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from datetime import date
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from formats.answers.kinds import kind_of
from formats.portable_model import AnswerError, Found, InputKind, ModelError, ModelInput, PortableModel
from include.errors import DataError, LakeError
from include.modelling.inputs import floats
from include.modelling.tasks.tasks import task_of_model
from include.storage.lake import Dataset, Lake, Layer, Partition
from include.use_case import Horizon

ROWS_AT_ONCE = 65_536
"""Rows encoded together: enough to lose no time between batches, few enough to keep memory constant."""


def load_model(lake: Lake, sha256: str) -> PortableModel:
    """The model file of that hash; `DataError` if it is damaged, `LakeError` if it is gone."""
    try:
        return PortableModel.load(model_bytes(lake, sha256), sha256=sha256, name=_model_file(sha256))
    except ModelError as error:
        raise DataError(f"lake: {error}; restore it, or register its night again") from None


def model_bytes(lake: Lake, sha256: str) -> bytes:
    """The content of the model file of that name, not yet checked; `LakeError` if it is gone."""
    name = _model_file(sha256)
    try:
        return lake.get(name)
    except FileNotFoundError:
        raise LakeError(f"lake: {name} is gone; restore it, or register its night again") from None


def feature_partition(horizon: Horizon, day: date) -> Partition:
    """The partition of the features of a horizon's examples of a day."""
    return Dataset(Layer.FEATURES, horizon.name).on(day)


def prediction_partition(horizon: Horizon, day: date) -> Partition:
    """The partition of the predictions of a horizon's examples of a day."""
    return Dataset(Layer.PREDICTIONS, horizon.name).on(day)


def answers(model: PortableModel, features: pa.Table) -> Found:
    """The model's answer to each row of raw features, in order: float64 [rows], or [rows, classes].

    Raises `DataError` when a column is missing or the model fails.
    """
    found = np.empty((features.num_rows, *model.answers.shape))
    try:
        for start in range(0, features.num_rows, ROWS_AT_ONCE):
            part = features.slice(start, ROWS_AT_ONCE)
            found[start : start + part.num_rows] = model.columns(raw_columns(part, model.inputs))
    except AnswerError as error:
        raise DataError(f"lake: {error}; restore it, or register its night again") from None
    return found


def predictions(model: PortableModel, features: pa.Table) -> dict[str, pa.Array]:
    """The model's answers as the columns of a table of predictions. Raises as `answers`."""
    return task_of_model(model.description).columns(answers(model, features))


def answered(model: PortableModel, body: Mapping[str, Any]) -> list[dict[str, Any]]:
    """What serving answered with that model, a row of predictions each."""
    columns = model.answers.columns(kind_of(model.description).found(body))
    return [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]


def raw_columns(features: pa.Table, inputs: Sequence[ModelInput]) -> dict[str, npt.NDArray[Any]]:
    """The columns a model takes: numbers as float64 with NaN for null, categories as text with None for null."""
    missing = [column.name for column in inputs if column.name not in features.column_names]
    if missing:
        raise DataError(f"features: columns {', '.join(missing)} are missing; compute the features again with --force")
    return {column.name: _raw(features[column.name], column.kind) for column in inputs}


def raw_rows(features: pa.Table, inputs: Sequence[ModelInput]) -> list[dict[str, Any]]:
    """The same as rows, as the serving API takes them: null where a value is not known."""
    columns = {
        name: [None if isinstance(value, float) and math.isnan(value) else value for value in values.tolist()]
        for name, values in raw_columns(features, inputs).items()
    }
    return [{name: values[row] for name, values in columns.items()} for row in range(features.num_rows)]


def _model_file(sha256: str) -> str:
    return f"models/{sha256}.onnx"


def _raw(column: pa.ChunkedArray, kind: InputKind) -> npt.NDArray[Any]:
    if kind is InputKind.CATEGORY:
        return np.asarray(pc.cast(column, pa.string()).to_numpy(), dtype=object)
    return floats(column)
