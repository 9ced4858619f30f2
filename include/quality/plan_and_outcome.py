"""The contracts of a table that holds plan and outcome: one for each of the two topics that the lake makes of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from include.errors import DataError
from include.quality.contract import Contract
from include.use_case import Topic, UseCaseSpec


def contracts(spec: UseCaseSpec, raw: Mapping[str, Contract]) -> dict[str, Contract]:
    """The contract of each topic, from those of the source's tables.

    Raises `DataError` for an outcome that is no column of its table, or a part of its key.
    """
    found = dict(raw)
    for topic in spec.topics:
        if topic.outcomes and topic.name in raw:
            found[topic.name] = _plan(topic, raw[topic.name])
        elif topic.of and topic.of in raw:
            found[topic.name] = replace(raw[topic.of], name=topic.name)
    return found


def _plan(topic: Topic, table: Contract) -> Contract:
    """The contract without the columns of the outcome, and without the rules about them."""
    for name in topic.outcomes:
        if name not in table.names:
            columns = ", ".join(table.names)
            raise DataError(f"topic {topic.name}: outcomes: {name} is no column of its contract; name one of {columns}")
        if name in (*table.key, table.day_column and table.day_column.name):
            raise DataError(f"topic {topic.name}: outcomes: {name} says which row it is; leave it out")
    freshness = table.freshness
    return replace(
        table,
        columns=tuple(column for column in table.columns if column.name not in topic.outcomes),
        order=tuple(name for name in table.order if name not in topic.outcomes) or table.key,
        max_nulls={name: share for name, share in table.max_nulls.items() if name not in topic.outcomes},
        references=tuple(rule for rule in table.references if rule.column not in topic.outcomes),
        freshness=None if freshness and freshness.column in topic.outcomes else freshness,
    )
