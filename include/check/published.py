"""What is published of a horizon, and the raw records that its manifest lists: nothing else may decide a feature."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date

import pandas as pd
import pyarrow as pa

from formats.manifest import Manifest
from include import identity
from include.check.building import HORIZON
from include.check.records import TopicRecords, World
from include.quality.contract import Contract
from include.step import Context
from include.storage.lake import Dataset, Layer, Partition
from include.use_case import Horizon

LOOKED_AT = 8
"""This many published days are tried, the newest first, until one is as the present code and raw data make it."""
MOST_ROWS = 100_000
"""More raw rows than these are not computed again: it would take longer than a minute."""


@dataclass(frozen=True)
class PublishedFeatures:
    """A published feature partition with `inputs` raw partitions, which are `world`."""

    partition: Partition
    rows: pd.DataFrame
    world: World
    inputs: int

    @property
    def day(self) -> date:
        """The data day of its rows."""
        return self.partition.day


def find_published(context: Context, horizon: Horizon, near: date) -> PublishedFeatures | str:
    """A day of a horizon that can be computed again, `near` itself if it can; else why there is none.

    The answer is empty where nothing is published at all.
    """
    dataset = Dataset(Layer.FEATURES, horizon.name)
    days = sorted(context.lake.days(dataset), key=lambda day: (day != near, -day.toordinal()))
    code, contracts = identity.features(context.use_case.spec), context.use_case.contracts
    for day in days[:LOOKED_AT]:
        manifest = context.lake.require(dataset.on(day))
        raw = _raw(context, manifest) if manifest.inputs.get(identity.CODE) == code else None
        if raw is None:
            continue
        if (rows := sum(each.rows for each in raw.values())) > MOST_ROWS:
            return f"{dataset.on(day)} is made from {rows} rows; more than {MOST_ROWS} are not computed again"
        table = context.lake.read_as(manifest, dataset.on(day))
        frame: pd.DataFrame = table.to_pandas(date_as_object=True).assign(**{HORIZON: horizon.name})
        return PublishedFeatures(dataset.on(day), frame, _world(context, contracts, raw), len(raw))
    return "what is published is of other code or other raw data, so it was not computed again" if days else ""


def _raw(context: Context, manifest: Manifest) -> dict[Partition, Manifest] | None:
    """The raw partitions that a manifest lists; None where one is gone, or another by now."""
    found = {}
    for name, sha256 in identity.partitions(manifest.inputs).items():
        partition = Partition.named(name)
        raw = context.lake.manifest(partition)
        if raw is None or raw.sha256 != sha256:
            return None
        found[partition] = raw
    return found


def _world(context: Context, contracts: Mapping[str, Contract], raw: Mapping[Partition, Manifest]) -> World:
    tables: dict[str, dict[date, pa.Table]] = defaultdict(dict)
    for partition, manifest in raw.items():
        tables[partition.dataset.name][partition.day] = context.lake.read_as(manifest, partition)
    topics = context.use_case.spec.topics
    return {topic.name: TopicRecords.of(topic, contracts[topic.name], tables[topic.name]) for topic in topics}
