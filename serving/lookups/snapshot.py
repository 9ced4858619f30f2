"""A snapshot of what is published, by the keys and the columns that its lookups name."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import date
from typing import Any

from serving.lookups.shape import Shape


@dataclass(frozen=True)
class Part:
    """One partition, read: its manifest's tag when that was, its data day, and what it holds.

    `groups` are the columns by which predictions are listed, `order` the one that sorts a list.
    """

    tag: str
    day: date
    key: str = ""
    groups: Sequence[str] = ()
    order: str = ""
    predictions: Sequence[Any] = ()
    tables: Mapping[str, Sequence[Any]] = field(default_factory=dict)


@dataclass(frozen=True)
class Snapshot:
    """All that was published of the newest days.

    `predictions` has each key's predictions, oldest as_of first; `groups`, for a column and a value of it, a data day's
    newest prediction of each key, in order; `tables` each table's rows, oldest day first. `view` is the use case's own.
    """

    predictions: Mapping[str, Sequence[Any]] = field(default_factory=dict)
    groups: Mapping[str, Mapping[str, Mapping[date, Sequence[Any]]]] = field(default_factory=dict)
    tables: Mapping[str, Sequence[Any]] = field(default_factory=dict)
    days: Sequence[date] = ()
    view: Any = None

    @classmethod
    def of(cls, parts: Mapping[str, Part], shape: Shape) -> Snapshot:
        """The snapshot of these partitions, by their names."""
        # Among equal as_of the later day counts, then the later moment.
        ordered = [part for _, part in sorted(parts.items(), key=lambda item: (item[1].day, item[0]))]
        predictions: dict[str, list[Any]] = {}
        for part in ordered:
            for one in part.predictions:
                predictions.setdefault(value(one, part.key), []).append(one)
        for of_key in predictions.values():
            of_key.sort(key=_as_of)
        names = dict.fromkeys(name for part in ordered for name in part.tables)
        tables = {name: [row for part in ordered for row in part.tables.get(name, ())] for name in names}
        snapshot = cls(predictions, _groups(ordered), tables, sorted({part.day for part in ordered}))
        return replace(snapshot, view=shape.view(snapshot))


def value(row: Any, column: str) -> Any:
    """A column's value of a row, whatever reads it."""
    return row[column] if isinstance(row, dict) else getattr(row, column)


def _groups(parts: Iterable[Part]) -> dict[str, dict[str, dict[date, list[Any]]]]:
    newest: dict[tuple[date, str], tuple[Part, Any]] = {}
    for part in parts:
        for one in part.predictions:
            place = part.day, value(one, part.key)
            if place not in newest or _as_of(newest[place][1]) <= _as_of(one):
                newest[place] = part, one
    found: dict[str, dict[str, dict[date, list[Any]]]] = {}
    for (day, _), (part, one) in sorted(newest.items(), key=_in_order):
        for column in part.groups:
            days = found.setdefault(column, {}).setdefault(str(value(one, column)), {})
            days.setdefault(day, []).append(one)
    return found


def _in_order(item: tuple[tuple[date, str], tuple[Part, Any]]) -> tuple[Any, str]:
    (_, key), (part, one) = item
    return value(one, part.order or part.key), key


def _as_of(one: Any) -> Any:
    return value(one, "as_of")
