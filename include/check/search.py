"""Which part of the future moves which features: halves of it are changed until one thing is left, or time is up."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial

import pandas as pd

from include.check.building import Builder, Order
from include.check.comparison import moved
from include.check.control import Within
from include.check.futures import Touch, another_future, touches
from include.check.sample import CheckSample
from include.check.view import View
from include.use_case import UseCaseSpec

Group = tuple[Sequence[Touch], set[str]]
"""Ways in which the future differs, and the features that move with them."""


@dataclass(frozen=True)
class Leak:
    """Features that know the future, and by what: of one topic, unless time was up before it was found."""

    columns: tuple[str, ...]
    moved_by: tuple[Touch, ...]


@dataclass(frozen=True)
class Search:
    """Looks for the leaks of a view; `expected` are its rows up to the cut, `columns` the features that leak."""

    builder: Builder
    sample: CheckSample
    within: Within
    view: View
    expected: pd.DataFrame
    columns: tuple[str, ...]
    until: float
    """When to stop narrowing down, by the monotonic clock."""
    _told: set[tuple[str, str]] = field(default_factory=set)
    """Topics and columns with a leak by value: their rows are not reported too."""

    @property
    def spec(self) -> UseCaseSpec:
        """The use case's spec."""
        return self.builder.use_case.spec

    def leaks(self) -> Iterator[Leak]:
        """A leak for each topic and group of features that move together: by values first, then by rows."""
        every = touches(self.sample.world, self.spec, self.view.cut)
        for of_values in (True, False):
            seen_by: dict[tuple[frozenset[str], tuple[str, ...]], list[Touch]] = {}
            for part, found in self._culprits([touch for touch in every if bool(touch.column) is of_values]):
                columns = tuple(sorted(column for column in found if self._news(part, {column})))
                seen_by.setdefault((frozenset(touch.topic for touch in part), columns), []).extend(part)
            yield from (Leak(columns, tuple(parts)) for (_, columns), parts in seen_by.items())
            self._told.update((topic, column) for topics, columns in seen_by for topic in topics for column in columns)

    def _culprits(self, how: Sequence[Touch]) -> list[Group]:
        """The smallest groups that move something, as far as time allows."""
        if not how:
            return []
        (found,) = self._seen([how])
        done: list[Group] = []
        groups = [(how, found)] if self._news(how, found) else []
        while groups:
            done += [group for group in groups if len(group[0]) == 1]
            groups = [group for group in groups if len(group[0]) > 1]
            if time.monotonic() > self.until:
                return done + groups
            halves = [half for touched, _ in groups for half in _halves(touched)]
            answers = list(zip(halves, self._seen(halves), strict=True))
            parts: list[Group] = []
            for number, group in enumerate(groups):
                moving = [(half, columns) for half, columns in answers[2 * number : 2 * number + 2] if columns]
                # What moves something only together with the rest is reported as a whole.
                done += [] if moving else [group]
                parts += [(half, columns) for half, columns in moving if self._news(half, columns)]
            groups = parts
        return done

    def _seen(self, groups: Sequence[Sequence[Touch]]) -> list[set[str]]:
        """The features that each group of touches moves."""
        world, cut = self.sample.world, self.view.cut
        orders = [
            Order(
                partial(another_future, world, self.spec, cut, how),
                self.sample.within([self.view.horizon]),
                columns=self.columns,
            )
            for how in groups
        ]
        answers = (rows.loc[rows.index.isin(self.expected.index)] for rows in self.within(orders))
        return [set(moved(self.expected, rows)) & {*self.columns, self.spec.key} for rows in answers]

    def _news(self, how: Sequence[Touch], columns: set[str]) -> bool:
        """Whether one of the columns is not yet reported for one of the topics."""
        return any((touch.topic, column) not in self._told for touch in how for column in columns)


def _halves(how: Sequence[Touch]) -> tuple[Sequence[Touch], Sequence[Touch]]:
    return how[: len(how) // 2], how[len(how) // 2 :]
