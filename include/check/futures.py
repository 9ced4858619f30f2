"""Other worlds with the same past: what became known after a cut is changed, added and removed, within the contract.

And worlds with another past and the same keys: what was known by the cut is changed. Features must differ in those.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from include.check.made_up import spelt_otherwise
from include.check.records import Mask, TopicRecords, World
from include.quality.contract import Column, Kind
from include.quality.pattern import fits
from include.use_case import UseCaseSpec

SEED = 20130101
"""Every other world is drawn from it, so that a finding comes again."""
SHARE = 0.4
"""How many of the records are removed or doubled, and of the late values come next or never."""
EMPTY = 0.2
"""How many of the values that may be empty are."""
SOON = 60_000_000  # microseconds after the cut: what a query that looks a little too far sees first
LATER = 24 * 3_600_000_000
TRIES = 20


class FutureChange(StrEnum):
    """Changes to records that are not known yet."""

    CHANGED = "changed"
    ADDED = "added"
    REMOVED = "removed"


@dataclass(frozen=True, order=True)
class Touch:
    """One way in which the future differs: a column's values, or rows that come or go (`column` empty)."""

    topic: str
    change: FutureChange
    column: str = ""

    def __str__(self) -> str:
        return f"{self.topic}.{self.column}" if self.column else f"rows of {self.topic} {self.change}"


def touches(world: World, spec: UseCaseSpec, cut: int) -> list[Touch]:
    """Every way in which a future of this world can differ from a cut on."""
    found = []
    for name, records in world.items():
        fixed = records.fixed()
        columns = [column.name for column in records.contract.columns if column.name not in fixed]
        open_ones = (column for column in columns if (records.cell_known(column, spec) > cut).any())
        found += [Touch(name, FutureChange.CHANGED, column) for column in open_ones]
        if (records.row_known(spec) > cut).any():
            found += [Touch(name, FutureChange.ADDED), Touch(name, FutureChange.REMOVED)]
    return found


def hidden(world: World, spec: UseCaseSpec, cut: int) -> dict[str, int]:
    """How many values of each topic became known after the cut."""
    return {
        name: sum(int((records.cell_known(column, spec) > cut).sum()) for column in records.contract.names)
        for name, records in world.items()
    }


def another_future(world: World, spec: UseCaseSpec, cut: int, how: Sequence[Touch]) -> World:
    """The world with the same past up to `cut`; what became known later differs in the ways asked for."""
    return {
        name: _other(records, spec, cut, [touch for touch in how if touch.topic == name])
        for name, records in world.items()
    }


def another_past(world: World, spec: UseCaseSpec, cut: int, topics: Sequence[str]) -> World:
    """The world in which the values of topics that were known by `cut` are others; all instants stay as they are."""
    return {name: _past(records, spec, cut) if name in topics else records for name, records in world.items()}


def shuffled(world: World) -> World:
    """The same world, its records in another order."""
    random = np.random.default_rng(SEED)
    orders = {name: random.permutation(len(records.days)) for name, records in world.items()}
    return {
        name: replace(records, table=records.table.take(orders[name]), days=records.days[orders[name]])
        for name, records in world.items()
    }


def _past(records: TopicRecords, spec: UseCaseSpec, cut: int) -> TopicRecords:
    random = np.random.default_rng(SEED)
    result = records
    for column in records.contract.columns:
        if column.name not in records.fixed() and column.kind is not Kind.INSTANT:
            known = records.cell_known(column.name, spec) <= cut
            result = _with(result, column, known, _values(records, column, known, random))
    return result


def _other(records: TopicRecords, spec: UseCaseSpec, cut: int, how: Sequence[Touch]) -> TopicRecords:
    changed = {touch.column for touch in how if touch.change is FutureChange.CHANGED}
    random = np.random.default_rng(SEED)
    unknown = {column.name: records.cell_known(column.name, spec) > cut for column in records.contract.columns}
    rows = records.row_known(spec) > cut
    result = records
    for column in records.contract.columns:
        if column.name in changed:
            values = (
                _instants_to_come(column, int(unknown[column.name].sum()), cut, random)
                if column.name in records.topic.late.values()
                else _values(records, column, unknown[column.name], random)
            )
            result = _with(result, column, unknown[column.name], values)
    changes = {touch.change for touch in how}
    more = (
        _doubled(result, rows & (random.random(len(rows)) < SHARE), random) if FutureChange.ADDED in changes else None
    )
    if FutureChange.REMOVED in changes:
        result = result.where(~(rows & (random.random(len(rows)) < SHARE)))
    return result if more is None else _together(result, more)


def _with(records: TopicRecords, column: Column, mask: Mask, values: list[Any]) -> TopicRecords:
    """The records with other values of a column under a mask."""
    if not mask.any():
        return records
    old = records.table[column.name].combine_chunks()
    new = pc.replace_with_mask(old, pa.array(mask), pa.array(values, old.type))
    place = records.table.column_names.index(column.name)
    return replace(records, table=records.table.set_column(place, records.table.schema.field(place), new))


def _values(records: TopicRecords, column: Column, mask: Mask, random: np.random.Generator) -> list[Any]:
    """Other values that the contract allows for the rows under a mask."""
    given = records.table[column.name].filter(pa.array(mask)).to_pylist()
    seen = sorted(set(records.table[column.name].drop_null().to_pylist()))
    if column.kind is Kind.INSTANT:
        return [given[place] for place in random.permutation(len(given))]
    choices: Sequence[Any] = column.one_of or seen
    made = [_value(column, value, choices, random) for value in given]
    empty = random.random(len(made)) < (0 if column.required else EMPTY)
    return [None if none and old is not None else new for none, old, new in zip(empty, given, made, strict=True)]


def _value(column: Column, old: Any, choices: Sequence[Any], random: np.random.Generator) -> Any:
    if column.kind is Kind.FLAG and not column.one_of:
        return not old
    if column.kind in (Kind.INTEGER, Kind.NUMBER) and not column.one_of:
        return _number(column, old, choices, random)
    return _choice(column, old, choices, random)


def _number(column: Column, old: float | None, seen: Sequence[float], random: np.random.Generator) -> Any:
    low: Any = column.minimum if column.minimum is not None else (seen[0] - 1 if seen else 0)
    high: Any = column.maximum if column.maximum is not None else (seen[-1] * 2 + 1 if seen else 100)
    for _ in range(TRIES):
        drawn = random.uniform(low, high)
        new = round(drawn) if column.kind is Kind.INTEGER else drawn
        if low <= new <= high and new != old:
            return new
    return old


def _choice(column: Column, old: Any, choices: Sequence[Any], random: np.random.Generator) -> Any:
    others = [value for value in choices if value != old]
    if others:
        return others[random.integers(len(others))]
    return f"{old}x" if column.kind is Kind.TEXT and _allowed(column, f"{old}x") else old


def _instants_to_come(column: Column, count: int, cut: int, random: np.random.Generator) -> list[int | None]:
    """Instants after the cut for what has not happened by then: some at once, some never."""
    soon = random.random(count) < SHARE
    never = (random.random(count) < SHARE) & (not column.required)
    minutes = np.where(soon, SOON, random.integers(SOON, LATER, count))
    return [None if none else cut + int(more) for none, more in zip(never, minutes, strict=True)]


def _doubled(records: TopicRecords, mask: Mask, random: np.random.Generator) -> TopicRecords | None:
    """Copies of the records under a mask, under keys of their own; None where no key of the contract can be made up."""
    copies = records.where(mask)
    for name in records.contract.key:
        column = next(column for column in records.contract.columns if column.name == name)
        taken = set(records.table[name].to_pylist())
        keys = list(_new_keys(column, copies.table[name].to_pylist(), taken, random))
        if keys and all(key is not None for key in keys):
            return _with(copies, column, np.ones(len(keys), dtype=bool), keys)
    return None


def _new_keys(column: Column, given: list[Any], taken: set[Any], random: np.random.Generator) -> Iterator[Any]:
    for number, old in enumerate(given, start=1):
        if column.kind is Kind.TEXT and not column.one_of:
            tries = (f"{old}-{number}", *(spelt_otherwise(old, random) for _ in range(TRIES)))
            new = next((text for text in tries if text not in taken and _allowed(column, text)), None)
        elif column.kind is Kind.INTEGER:
            new = max(taken) + number
            new = None if column.maximum is not None and new > column.maximum else new
        elif column.kind is Kind.INSTANT:
            new = pc.add(pa.scalar(old, pa.timestamp("us", "UTC")), pa.scalar(number, pa.duration("s"))).as_py()
        else:
            new = None
        yield new


def _allowed(column: Column, text: str) -> bool:
    return column.pattern is None or fits(text, column.pattern)


def _together(first: TopicRecords, second: TopicRecords) -> TopicRecords:
    table = pa.concat_tables([first.table, second.table])
    return replace(first, table=table, days=np.concatenate([first.days, second.days]))
