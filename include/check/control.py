"""The control of the leak check: changing what was known must move features, or nothing was proved.

It is asked of each horizon and each topic that features read, so that one that moves speaks for no other.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass
from functools import partial

import pandas as pd

from include.check.building import AS_OF, DATE, Builder, Order
from include.check.comparison import moved
from include.check.futures import another_past, hidden
from include.check.sample import CheckSample
from include.check.view import View
from include.use_case import UseCaseSpec

Within = Callable[[Sequence[Order]], list[pd.DataFrame]]
"""The feature rows of the day, for each order."""


@dataclass(frozen=True)
class Control:
    """What is asked of every view: whether it moves with each topic's values that were known."""

    builder: Builder
    sample: CheckSample
    within: Within
    inputs: Collection[str]
    """The columns that candidates learn from."""

    @property
    def spec(self) -> UseCaseSpec:
        """The use case's spec."""
        return self.builder.use_case.spec

    def doubts(self, views: Sequence[View]) -> Iterator[str]:
        """What keeps "nothing moves" from being a proof, horizon by horizon."""
        moves = self._moves(views)
        for view in views:
            by_topic = {topic: moves[view.horizon.name, topic] for topic in self.sample.world}
            if not any(columns & set(self.inputs) for columns in by_topic.values()):
                yield f"{view}: changing all that was known moves no input of a candidate; do features read topics?"
                continue
            for topic in sorted(view.asked):
                if not by_topic.get(topic):
                    yield (
                        f"{view}: changing what was known of {topic} moves no feature, so nothing is proved of it; "
                        "give it records that belong to examples, or leave it unread for this horizon"
                    )
            counts = hidden(self.sample.world, self.spec, view.cut)
            for topic in (name for name, count in counts.items() if not count and by_topic[name]):
                yield f"{view}: of {topic} nothing became known later, so nothing was changed"

    def _moves(self, views: Sequence[View]) -> dict[tuple[str, str], set[str]]:
        """The features of each horizon that move with each topic.

        What was known by the first cut was known by all: one build asks every horizon. One that reads only what is
        newer is asked again, at its own cut.
        """
        first, found = min(view.cut for view in views), {}
        topics = list(self.sample.world)
        for topic, rows in zip(
            topics, self.within([self._order(views, topic, first) for topic in topics]), strict=True
        ):
            for view in views:
                found[view.horizon.name, topic] = self._moved(view, first, rows)
        again = [
            (view, topic)
            for view in views
            for topic in topics
            if view.cut > first and topic in view.asked and not found[view.horizon.name, topic]
        ]
        orders = [self._order([view], topic, view.cut) for view, topic in again]
        for (view, topic), rows in zip(again, self.within(orders), strict=True):
            found[view.horizon.name, topic] = self._moved(view, view.cut, rows)
        return found

    def _order(self, views: Sequence[View], topic: str, at: int) -> Order:
        past = partial(another_past, self.sample.world, self.spec, at, [topic])
        return Order(past, {view.horizon.name: [self.sample.day] for view in views})

    def _moved(self, view: View, since: int, rows: pd.DataFrame) -> set[str]:
        after = view.since(since)
        return set(moved(after, rows.loc[rows.index.isin(after.index)])) - {DATE, AS_OF, self.spec.key}
