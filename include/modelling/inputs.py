"""A model's inputs: feature columns as the numbers that estimators and portable model files take."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from formats.portable_model import InputKind
from include.errors import DataError

Matrix = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Input:
    """One feature as a model takes it; `categories` lists a category's known values, their order is their number."""

    name: str
    kind: InputKind = InputKind.NUMBER
    categories: tuple[str, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """The input as a portable file's metadata holds it."""
        return {"name": self.name, "kind": str(self.kind), "categories": list(self.categories)}


def encode(
    table: pa.Table,
    inputs: Sequence[Input],
    order: npt.NDArray[np.intp] | None = None,
    *,
    layout: Literal["C", "F"] = "C",
) -> Matrix:
    """Feature columns as float64 of shape [rows, inputs]; the table's rows, or those at the positions `order`.

    A number's null is NaN; a category is its index in `categories`, unknown or null is NaN. They are stored row by row
    ("C", as models answer them) or column by column ("F", as trees are grown; many rows are written far faster).
    Raises `DataError` when a column is missing.
    """
    rows = table.num_rows if order is None else len(order)
    matrix = np.empty((rows, len(inputs)), dtype=np.float64, order=layout)
    for position, wanted in enumerate(inputs):
        if wanted.name not in table.column_names:
            raise DataError(f"features: column {wanted.name} is missing; compute the features again with --force")
        numbers = _numbers(table[wanted.name], wanted)
        matrix[:, position] = numbers if order is None else numbers[order]
    return matrix


def _numbers(column: pa.ChunkedArray, wanted: Input) -> Matrix:
    if wanted.kind is InputKind.CATEGORY:
        column = pc.index_in(pc.cast(column, pa.string()), value_set=pa.array(wanted.categories, pa.string()))
    return floats(column)


def floats(column: pa.ChunkedArray) -> Matrix:
    """A column of numbers or booleans as float64, NaN for null."""
    if pa.types.is_boolean(column.type):
        column = pc.cast(column, pa.int8())
    # One call over all days' chunks, which makes NaN of nulls; Arrow's own casts go through them one by one.
    numbers: Matrix = column.to_numpy().astype(np.float64, copy=False)
    return numbers
