"""Whether features know the future: worlds with one past and other futures must have the same features up to the cut.

Every horizon is judged by itself. The control is part of it (`control.py`), and so is what is published
(`published.py`).
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import date
from functools import partial
from typing import TYPE_CHECKING

import pandas as pd

from include.check.building import DATE, FILE, Builder, Order
from include.check.comparison import malformed, moved
from include.check.control import Control
from include.check.finding import Mistake, MistakeError
from include.check.futures import another_future, shuffled, touches
from include.check.published import PublishedFeatures, find_published
from include.check.records import World
from include.check.sample import CheckSample
from include.check.search import Search
from include.check.timer import Timer
from include.check.view import View
from include.step import Context
from include.use_case import Horizon, UseCaseSpec

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

SEARCH_SECONDS = 45.0, 15.0
"""How long to search for the columns that a leak comes from: to the first, and for the second at least."""
SHOWN = 5
REMEDY = "use only what is known by then, or say in spec.py when it is (Topic's known_at, late)"
TWICE = "it depends on chance, or on the order of records; order by a key, and take no random numbers"


@dataclass
class Proof:
    """The findings of the leak check, what keeps it from being conclusive, and remarks."""

    findings: list[Mistake] = field(default_factory=list)
    doubts: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


def check_features(context: Context, sample: CheckSample, spark: SparkSession, timer: Timer | None = None) -> Proof:
    """Build the features of a sample in worlds with one past and other futures, and compare."""
    proof = Proof()
    try:
        with Builder.opened(context.use_case, spark) as builder:
            _Check(context, sample, builder, proof, timer or Timer()).run()
    except MistakeError as error:
        proof.findings += [error.mistake] if error.mistake else []
    return proof


@dataclass(frozen=True)
class _Check:
    context: Context
    sample: CheckSample
    builder: Builder
    proof: Proof
    timer: Timer
    _found: set[tuple[str, str]] = field(default_factory=set)
    """The columns of each horizon with a finding."""

    @property
    def spec(self) -> UseCaseSpec:
        return self.context.use_case.spec

    def run(self) -> None:
        """For each horizon: the day alone, then within a range in a world with another future; then the control."""
        begun = time.monotonic()
        with self.timer.part("alone"):
            views = self._views()
        with self.timer.part("futures"):
            suspects = self._suspects(views)
        with self.timer.part("control"):
            if views:
                inputs = {
                    name for recipe in self.context.use_case.part("candidates").CANDIDATES for name in recipe.inputs
                }
                self.proof.doubts += Control(self.builder, self.sample, self._within, inputs).doubts(views)
        with self.timer.part("search"):
            for view, columns in suspects:
                until, least = (
                    start + seconds for start, seconds in zip((begun, time.monotonic()), SEARCH_SECONDS, strict=True)
                )
                self._explain(view, columns, max(until, least))
        with self.timer.part("published"):
            self._published()

    def _views(self) -> list[View]:
        """Each horizon's day, from exactly the partitions that its run has."""
        orders = [
            Order(partial(self._readable, horizon), {horizon.name: [self.sample.day]}, apart=True)
            for horizon in self.spec.horizons
        ]
        views = []
        for horizon, built in zip(self.spec.horizons, self.builder.built(orders), strict=True):
            if not len(built.rows):
                self.proof.doubts.append(f"{horizon.name}: {self.sample.day} has no example")
            elif problems := list(malformed(built.rows, self.spec, self.sample)):
                self.proof.findings += problems
            else:
                views.append(View.of(horizon, built.rows, built.asked))
        return views

    def _readable(self, horizon: Horizon) -> World:
        readable: dict[str, set[date]] = {}
        for topic, day in self.spec.readable(horizon, self.sample.day):
            readable.setdefault(topic, set()).add(day)
        return {name: records.of_days(readable.get(name, set())) for name, records in self.sample.world.items()}

    def _within(self, orders: Sequence[Order]) -> list[pd.DataFrame]:
        """The day from all there is, computed together with the day before."""
        return [built.rows[built.rows[DATE] == self.sample.day] for built in self.builder.built(orders)]

    def _suspects(self, views: Sequence[View]) -> list[tuple[View, tuple[str, ...]]]:
        """The horizons whose features move with the future, or with what their run does not have; and which do."""
        world = self.sample.world
        orders = [
            Order(
                partial(another_future, world, self.spec, view.cut, touches(world, self.spec, view.cut)),
                self.sample.within([view.horizon]),
            )
            for view in views
        ]
        found = [
            (view, tuple(moved(view.known, rows.loc[rows.index.isin(view.known.index)])))
            for view, rows in zip(views, self._within(orders), strict=True)
        ]
        return [(view, columns) for view, columns in found if columns]

    def _explain(self, view: View, columns: tuple[str, ...], until: float) -> None:
        """Find out what the features depend on: chance, the future, or days that their run does not have."""
        world, wanted = self.sample.world, self.sample.within([view.horizon])
        there, again = self._within(
            [Order(lambda: world, wanted), Order(partial(shuffled, world), wanted)],
        )
        for column, count in moved(there, again).items():
            said = f"differs in {count} of {len(there)} rows of {view.horizon.name} when it is computed twice: {TWICE}"
            self._find(view.horizon, column, said)
        expected = there.loc[there.index.isin(view.known.index)]
        left = tuple(column for column in columns if (view.horizon.name, column) not in self._found)
        if left:
            self._leaks(view, Search(self.builder, self.sample, self._within, view, expected, left, until))
        for column, count in moved(view.alone, there).items():
            self._find(
                view.horizon,
                column,
                f"differs in {count} of {len(view.alone)} rows of {view.horizon.name} when {self.sample.day} is "
                "computed alone, from what its run has, and when it is computed in a range; use no day but the "
                f"lookback_days={self.spec.lookback_days} before, and none that is published later",
            )
        for column in columns:
            said = (
                f"knows the future: moves when what became known after as_of ({view}) is all changed at once; {REMEDY}"
            )
            self._find(view.horizon, column, said)

    def _leaks(self, view: View, search: Search) -> None:
        for leak in search.leaks():
            self.proof.findings.append(
                Mistake(
                    FILE,
                    _few(leak.columns),
                    f"knows the future: moves with {_few(list(map(str, leak.moved_by)))}, which became known after "
                    f"as_of ({view}); {REMEDY}",
                )
            )
            self._found.update((view.horizon.name, column) for column in leak.columns)

    def _published(self) -> None:
        """Compute a published day of each horizon again from exactly the partitions in its manifest, and compare."""
        there: list[tuple[Horizon, PublishedFeatures]] = []
        for horizon in self.spec.horizons:
            found = find_published(self.context, horizon, self.sample.day)
            if isinstance(found, PublishedFeatures):
                there.append((horizon, found))
            elif found:
                self.proof.notes.append(f"{horizon.name}: {found}")
        orders = [Order(partial(_world_of, found), {horizon.name: [found.day]}, apart=True) for horizon, found in there]
        for (horizon, found), built in zip(there, self.builder.built(orders), strict=True):
            self._compare(horizon, found, built.rows)

    def _compare(self, horizon: Horizon, found: PublishedFeatures, rows: pd.DataFrame) -> None:
        for column, count in moved(self.builder.in_order(found.rows), rows).items():
            self._find(
                horizon,
                column,
                f"differs in {count} of {found.rows.shape[0]} rows of {found.partition} from what is published when it "
                "is computed from exactly the partitions that its manifest lists; read nothing but raw, and no day but "
                f"the lookback_days={self.spec.lookback_days} before",
            )
        self.proof.notes.append(f"{found.partition} was computed again from the {found.inputs} partitions it lists")

    def _find(self, horizon: Horizon, column: str, problem: str) -> None:
        """Note a finding, one for each column of a horizon."""
        if (horizon.name, column) not in self._found:
            self.proof.findings.append(Mistake(FILE, column, problem))
            self._found.add((horizon.name, column))


def _world_of(found: PublishedFeatures) -> World:
    return found.world


def _few(names: Sequence[str]) -> str:
    """The first of the names, and how many there are besides."""
    others = f" and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
    return ", ".join(names[:SHOWN]) + others
