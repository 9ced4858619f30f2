"""Records generated from contracts, if there are no data yet: they keep the rules, nothing more."""

from __future__ import annotations

import string
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date
from itertools import product
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from include.check.records import micros
from include.errors import DataError
from include.quality.conform import conform
from include.quality.contract import Column, Contract, Kind
from include.quality.pattern import fits, matches
from include.use_case import Topic, UseCaseSpec

ROWS = 12
"""Records of a topic on a day: one for each of this many things (shops, machines)."""
LEAST, MOST = 0.0, 100.0
"""Bounds of numbers that have none."""
EMPTY = 0.2
"""How often a value is missing that may be."""
LONGEST = 12
TRIES = 50
ALPHABETS = (string.ascii_uppercase, string.ascii_lowercase, string.digits)


@dataclass(frozen=True)
class MadeUp:
    """A use case's records of any day; the same day has the same records, and equal columns of topics equal values."""

    spec: UseCaseSpec
    contracts: Mapping[str, Contract]

    def read(self, topic: Topic, day: date) -> pa.Table:
        """The records of a topic's partition. `DataError` when no text of a column's pattern can be made up."""
        contract = self.contracts[topic.name]
        random = np.random.default_rng(zlib.crc32(f"{topic.name} {day}".encode()))
        columns = {column.name: self._column(topic, contract, column, day, random) for column in contract.columns}
        records = pa.table(columns, schema=pa.schema([(each.name, each.kind.arrow) for each in contract.columns]))
        return conform(records, contract, f"made-up {topic.name} of {day}").good

    def _column(
        self, topic: Topic, contract: Contract, column: Column, day: date, random: np.random.Generator
    ) -> list[Any]:
        values = [self._value(topic, column, day, thing, random) for thing in range(ROWS)]
        if column.required or column.name in contract.key:
            return values
        return [None if random.random() < EMPTY else value for value in values]

    def _value(self, topic: Topic, column: Column, day: date, thing: int, random: np.random.Generator) -> Any:
        if column.one_of:
            return column.one_of[thing % len(column.one_of)]
        if column.kind is Kind.TEXT:
            of_day = column.name in (self.spec.key, *self.contracts[topic.name].key)
            return _text(column, f"{day:%Y%m%d}-{thing}" if of_day else f"{column.name}-{thing}")
        if column.kind is Kind.DATE:
            return day
        if column.kind is Kind.INSTANT:
            late = column.name in topic.late.values()
            start, end = micros(self.spec.day_start(day)), micros(self.spec.day_end(day))
            return int(random.integers(start, end + (end - start) // 2 if late else end))
        if column.kind is Kind.FLAG:
            return bool(random.random() < 0.5)
        return _number(column, random)


def _number(column: Column, random: np.random.Generator) -> Any:
    low: Any = column.minimum if column.minimum is not None else min(LEAST, _or(column.maximum, MOST) - MOST)
    high: Any = column.maximum if column.maximum is not None else low + MOST
    drawn = random.uniform(low, high)
    return min(max(round(drawn), low), high) if column.kind is Kind.INTEGER else drawn


def _or(bound: Any, otherwise: float) -> float:
    return otherwise if bound is None else float(bound)


def _text(column: Column, name: str) -> str:
    """A text of the column's pattern that is the same for the same name; the name itself where there is no pattern."""
    if column.pattern is None or fits(name, column.pattern):
        return name
    random = np.random.default_rng(zlib.crc32(name.encode()))
    shape = _shape(column.pattern)
    for _ in range(TRIES if shape else 0):
        if fits(text := spelt_otherwise(shape, random), column.pattern):
            return text
    if shape:
        return shape
    raise DataError(
        f"contracts.py: no {column.name} of pattern {column.pattern} can be made up; give the source two days of data"
    )


def spelt_otherwise(text: str, random: np.random.Generator) -> str:
    """Letters and digits exchanged for others of their kind."""
    kinds = (next((kind for kind in ALPHABETS if letter in kind), letter) for letter in text)
    return "".join(kind[random.integers(len(kind))] for kind in kinds)


def _shape(pattern: str) -> str:
    """The first of many simple texts that fits a pattern: up to two runs of letters or digits, with a sign between."""
    runs = [alphabet[:1] * length for alphabet in ALPHABETS for length in range(1, LONGEST + 1)]
    texts = runs + [f"{one}{sign}{other}" for one, sign, other in product(runs, ("", "-", "_", ".", "/", " "), runs)]
    fitting = pa.array(texts).filter(pc.fill_null(matches(pa.array(texts), pattern), False))
    return str(fitting[0].as_py()) if len(fitting) else ""
