"""Whether two tables of feature rows are one, and whether a table is what `build` must answer."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pandas as pd

from include.check.building import AS_OF, FILE
from include.check.finding import Mistake
from include.check.sample import CheckSample
from include.use_case import UseCaseSpec

SAME = 1e-9
"""Relative difference up to which two numbers are one: sums of floats depend on the order of their rows."""


def moved(expected: pd.DataFrame, actual: pd.DataFrame) -> dict[str, int]:
    """In how many rows each column of `actual` differs; a row that only one of them has counts under the key's name."""
    actual = actual[~actual.index.duplicated()]
    apart = len(expected.index.symmetric_difference(actual.index))
    found = {str(expected.index.names[-1]): apart} if apart else {}
    both = expected.index.intersection(actual.index)
    left, right = expected.loc[both], actual.loc[both]
    for column in actual.columns:
        if differs := int(_differs(left[column], right[column]).sum()):
            found[str(column)] = differs
    return found


def _differs(left: pd.Series, right: pd.Series) -> np.ndarray[tuple[int], np.dtype[np.bool_]]:
    if pd.api.types.is_float_dtype(left.dtype) or pd.api.types.is_float_dtype(right.dtype):
        a, b = left.astype(float).to_numpy(), right.astype(float).to_numpy()
        return np.asarray(~np.isclose(a, b, rtol=SAME, atol=SAME, equal_nan=True))
    both_empty = left.isna().to_numpy() & right.isna().to_numpy()
    return np.asarray((left.to_numpy() != right.to_numpy()) & ~both_empty)


def instants(column: pd.Series) -> np.ndarray[tuple[int], np.dtype[np.int64]]:
    """A column of instants as microseconds since 1970."""
    micros: np.ndarray[tuple[int], np.dtype[np.int64]] = (
        column.dt.tz_convert("UTC").astype("datetime64[us, UTC]").astype("int64").to_numpy()
    )
    return micros


def malformed(rows: pd.DataFrame, spec: UseCaseSpec, sample: CheckSample) -> Iterator[Mistake]:
    """What every build must return: one row for each example of the requested dates."""
    if rows.index.has_duplicates:
        twice = rows.index[rows.index.duplicated()]
        yield Mistake(FILE, spec.key, f"{len(twice)} examples have several rows, such as {twice[0]}; make it one each")
        return
    examples = sample.world[spec.examples].of_days({sample.day}).table[spec.key].to_pylist()
    if apart := sorted(map(str, set(examples) ^ set(rows[spec.key]))):
        yield Mistake(
            FILE,
            spec.key,
            f"{sample.day} has {len(rows)} rows, {spec.examples} {len(examples)} ({apart[0]} is only in one of them); "
            "answer one row for each",
        )
    if rows[AS_OF].isna().any():
        yield Mistake(FILE, AS_OF, f"is empty in {int(rows[AS_OF].isna().sum())} rows; say when each is looked at")
