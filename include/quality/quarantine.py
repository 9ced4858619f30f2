"""Quarantine: rows that broke a rule, exactly as the source gave them, each with the rule and the reason."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import pyarrow as pa

from formats.partition import DATA_DAY
from include.quality.breaches import Breach, python_values
from include.quality.reading import Mask

RULE, REASON = "_rule", "_reason"
"""Our own columns; with more underscores in front if the source has these names."""


def quarantine(records: pa.Table, bad: Mask, breaches: Sequence[Breach]) -> pa.Table:
    """The bad rows, all values as text, each with the first rule it breaks and the reason.

    No column is lost: one without a name, or with a name that is taken, gets a free name.
    """
    first = np.full(len(bad), -1)
    for number in reversed(range(len(breaches))):
        first[breaches[number].rows] = number
    chosen = [breaches[number] for number in first[bad]]
    names = list(_free(records.column_names))
    arrays = [_as_text(column) for column in records.filter(pa.array(bad)).columns]
    for own, told in ((RULE, [str(one.rule) for one in chosen]), (REASON, [one.reason for one in chosen])):
        names.append(_unused(own, names))
        arrays.append(pa.array(told, pa.string()))
    return pa.table(arrays, names=names)


def _unused(name: str, names: Sequence[str]) -> str:
    return name if name not in names else _unused(f"_{name}", names)


def _free(names: Sequence[str]) -> Iterator[str]:
    """The names, those that are empty, come again in any case or are the partition's numbered by their place."""
    taken = {name.lower() for name in names}
    seen = {DATA_DAY}
    for place, name in enumerate(names, start=1):
        if name and name.lower() not in seen:
            seen.add(name.lower())
            yield name
            continue
        free = f"{name or 'column'}_{place}"
        while free.lower() in taken:
            free = f"{free}_"
        taken.add(free.lower())
        yield free


def _as_text(column: pa.ChunkedArray) -> pa.Array:
    return pa.array([None if value is None else str(value) for value in python_values(column)], pa.string())
