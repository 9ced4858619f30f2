"""Whether `label.py` uses only what was known: labels must not move with outcomes that became known later."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date, timedelta
from typing import Any

import numpy as np

from include.check.finding import Mistake
from include.check.futures import another_future, touches
from include.check.records import TopicRecords, World, micros
from include.check.sample import CheckSample
from include.errors import DataError
from include.modelling.labels import ExampleIndex, Labels
from include.modelling.tasks.tasks import task_of
from include.step import Context
from include.use_case import UseCaseSpec

FILE = "label.py"
Answer = Mapping[tuple[str, str], float]


def check_labels(context: Context, sample: CheckSample) -> list[Mistake]:
    """Ask for the labels known when the day before is over, in two worlds that share what was known by then."""
    spec = context.use_case.spec
    labeller = context.use_case.part("label").labels
    last = sample.day - timedelta(days=1)
    world: World = {spec.outcomes: sample.world[spec.outcomes]}
    cut = micros(spec.day_end(last))
    future = another_future(world, spec, cut, touches(world, spec, cut))
    try:
        known, other = (
            _answer(labeller, each[spec.outcomes], sample.world[spec.examples], spec, last) for each in (world, future)
        )
    except DataError as error:
        return [Mistake(FILE, "labels", str(error).removeprefix(f"{FILE}: "))]
    except Exception as error:  # the use case's own code
        return [Mistake.of(error, spec.package, FILE, "labels")]
    if not known:
        return [Mistake(FILE, "labels", f"answers none for the examples up to {last}; answer their own {spec.key}")]
    apart = sorted(key for key in known.keys() | other.keys() if known.get(key) != other.get(key))
    if not apart:
        return []
    return [
        Mistake(
            FILE,
            "labels",
            f"answers what was not known by known_by: {len(apart)} labels, such as {' of '.join(apart[0])}, move with "
            f"{spec.outcomes} that became known later; leave out what was not known by then, or say in spec.py when it "
            "was (Topic's known_at, late)",
        )
    ]


def _answer(labeller: Any, outcomes: TopicRecords, examples: TopicRecords, spec: UseCaseSpec, last: date) -> Answer:
    """The labels of the examples up to a day that are known when it is over, by key and day."""
    labels = Labels.known(labeller, outcomes.table, spec.day_end(last), spec.key, task_of(spec))
    there, values = ExampleIndex(examples.table[spec.key], examples.days, spec.key).labelled(labels)
    found = np.flatnonzero(there & (examples.days <= np.datetime64(last)))
    keys = examples.table[spec.key].take(found).to_pylist()
    return {(key, str(examples.days[place])): float(values[place]) for key, place in zip(keys, found, strict=True)}
