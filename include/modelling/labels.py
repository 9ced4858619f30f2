"""The labels of a use case's `label.py`, checked and joined with its examples."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from include.errors import DataError
from include.modelling.inputs import Matrix
from include.modelling.tasks.learning_task import LearningTask

DATE = "date"
LABEL = "label"
SHOWN = 3
"""How many rows an error names."""

Days = npt.NDArray[np.datetime64]
Places = npt.NDArray[np.int64]
Labeller = Callable[[pa.Table, datetime], Any]

_DAYS_PER_KEY = 1 << 23  # more than there are days from year 1 to 9999


@dataclass(frozen=True)
class Labels:
    """Labels of examples: their keys, their days where `label.py` says them, and a number (float64) for each.

    `task` says what the numbers mean; it knows its classes by now.
    """

    keys: pa.Array
    days: Days | None
    values: Matrix
    task: LearningTask

    @classmethod
    def known(cls, labeller: Labeller, outcomes: pa.Table, by: datetime, key: str, task: LearningTask) -> Labels:
        """The labels of the use case's `labels(outcomes, by)`.

        Raises `DataError` when a key, day or label is missing, a label is none of the task's, or a key is not one of
        the outcomes'.
        """
        found = labeller(outcomes, by)
        if not isinstance(found, pd.DataFrame):
            raise DataError(f"label.py: labels() answers a {type(found).__name__}; answer a pandas DataFrame")
        columns = list(found.columns)
        if lacking := [n for n in (key, LABEL, DATE) if columns.count(n) != 1 and (n != DATE or DATE in columns)]:
            names = ", ".join(map(str, columns)) or "none"
            raise DataError(
                f"label.py: labels() answers the columns {names}; answer {key}, {LABEL} and, where a key comes on "
                f"several days, {DATE}, each once (not so: {', '.join(lacking)})"
            )
        keys = _keys(found, key)
        days = _days(found, keys) if DATE in columns else None
        given = _array(found, LABEL)
        task = task.seen(given)
        read = task.read(given)
        _refuse(pc.is_null(given), keys, days, f"{LABEL} is empty; leave a row out whose outcome is not known")
        _refuse(pa.array(read.wrong), keys, days, f"{LABEL} {read.told}")
        labels = cls(keys, days, read.values, task)
        if key in outcomes.column_names:
            made_up = pc.invert(pc.is_in(keys, value_set=outcomes[key].cast(pa.string()).combine_chunks()))
            _refuse(made_up, keys, days, f"{key} is none of the outcomes'; return the key as it is there")
        return labels


class ExampleIndex:
    """Examples told apart by key and day, so that each finds its own label."""

    def __init__(self, keys: pa.ChunkedArray, days: Days, key: str) -> None:
        self._key = key
        self._known = pc.unique(keys)
        self._codes = _codes(keys, self._known)
        self._numbers = _numbers(self._codes, days)

    def labelled(self, labels: Labels) -> tuple[npt.NDArray[np.bool_], Matrix]:
        """Which rows have a label, and each row's label (NaN where there is none).

        Raises `DataError` when a key comes on several days and the labels do not say which, or twice among the labels.
        """
        codes = _codes(labels.keys, self._known)
        if labels.days is None:
            self._refuse_several_days()
            self._refuse_doubles(labels, codes, codes)
            given, wanted = codes, self._codes
        else:
            told = _numbers(codes, labels.days)
            self._refuse_doubles(labels, codes, told)
            numbers = pa.array(self._numbers)
            known = pc.unique(numbers)
            given, wanted = _codes(pa.array(told), known), _codes(numbers, known)
        values = np.full(len(wanted) + 1, np.nan)
        values[given] = labels.values  # a label of no example takes the last place, which is no row's
        found = values[wanted]
        return ~np.isnan(found), found

    def _refuse_several_days(self) -> None:
        last = np.empty(len(self._known), dtype=np.int64)
        last[self._codes] = self._numbers
        if np.array_equal(last[self._codes], self._numbers):
            return
        numbers = np.unique(self._numbers)
        codes, first, count = np.unique(numbers // _DAYS_PER_KEY, return_index=True, return_counts=True)
        several = np.flatnonzero(count > 1)
        place = int(first[several[0]])
        one, other = (_day_of(number) for number in numbers[place : place + 2])
        raise DataError(
            f"label.py: {self._key} comes on several days ({several.size} of {len(codes)} keys, such as "
            f"{self._known[int(codes[several[0]])].as_py()} on {one} and {other}) and labels() does not say which; "
            f"answer the example's day too, as a column {DATE}"
        )

    def _refuse_doubles(self, labels: Labels, codes: Places, given: Places) -> None:
        doubled = pd.Series(given).duplicated().to_numpy() & (codes >= 0)
        what = self._key if labels.days is None else f"{self._key} and {DATE}"
        _refuse(pa.array(doubled), labels.keys, labels.days, f"{what} come twice; answer one row for each example")


def _keys(found: pd.DataFrame, key: str) -> pa.Array:
    keys = _array(found, key)
    text = pa.types.is_string(keys.type) or pa.types.is_large_string(keys.type)
    if not text and keys.null_count < len(keys):
        raise DataError(f"label.py: column {key} holds {keys.type}, such as {keys.drop_null()[0]}; answer text")
    keys = keys.cast(pa.string())
    _refuse(pc.is_null(keys), keys, None, f"{key} is empty; answer the key of each label's example")
    return keys


def _days(found: pd.DataFrame, keys: pa.Array) -> Days:
    given = _array(found, DATE)
    instants = pa.types.is_timestamp(given.type) and given.type.tz is not None
    try:
        days = None if instants else given.cast(pa.date32())
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError):
        days = None
    if days is None:
        shown = given.drop_null()[0]
        raise DataError(f"label.py: column {DATE} holds {given.type}, such as {shown}; answer dates")
    _refuse(pc.is_null(days), keys, None, f"{DATE} is empty; answer the day of each label's example")
    numbers: Days = days.to_numpy(zero_copy_only=False).astype("datetime64[D]")
    return numbers


def _array(found: pd.DataFrame, name: str) -> pa.Array:
    try:
        array = pa.array(found[name], from_pandas=True)
    except (pa.ArrowInvalid, pa.ArrowTypeError):
        kinds = sorted({type(value).__name__ for value in found[name] if value is not None})
        raise DataError(f"label.py: column {name} mixes {', '.join(kinds)}; answer values of one type") from None
    if isinstance(array, pa.ChunkedArray):
        array = array.combine_chunks()
    return array.dictionary_decode() if pa.types.is_dictionary(array.type) else array


def _refuse(rows: pa.Array, keys: pa.Array, days: Days | None, told: str) -> None:
    count = pc.sum(rows).as_py() or 0
    if not count:
        return
    places = np.flatnonzero(rows.to_numpy(zero_copy_only=False))[:SHOWN]
    shown = (f"{keys[int(place)].as_py()}{f' of {days[place]}' if days is not None else ''}" for place in places)
    raise DataError(f"label.py: in {count} of {len(keys)} rows (such as {', '.join(shown)}) {told}")


def _codes(keys: pa.Array | pa.ChunkedArray, known: pa.Array) -> Places:
    """Each key as its place among the known ones, -1 for another."""
    codes: Places = pc.fill_null(pc.index_in(keys, value_set=known), -1).to_numpy().astype(np.int64)
    return codes


def _numbers(codes: Places, days: Days) -> Places:
    """A key and a day as one number."""
    return codes * _DAYS_PER_KEY + days.astype("datetime64[D]").astype(np.int64) + _DAYS_PER_KEY // 2


def _day_of(number: np.int64) -> np.datetime64:
    return np.datetime64(int(number % _DAYS_PER_KEY) - _DAYS_PER_KEY // 2, "D")
