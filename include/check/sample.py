"""A few days of raw records to check features on: from the lake where they are published, else from the source."""

from __future__ import annotations

import zlib
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import date, datetime, timedelta

import numpy as np
import pyarrow as pa

from include.check.made_up import MadeUp
from include.check.records import TopicRecords, World
from include.errors import DataError, FaultError
from include.quality.breaches import describe
from include.quality.conform import conform
from include.quality.contract import Contract
from include.step import Context
from include.storage.lake import Dataset, Layer, days_between
from include.use_case import Horizon, Topic, UseCaseSpec

Read = Callable[[Topic, date], pa.Table | None]
"""A topic's partition, None where there is none."""

DAY = timedelta(days=1)
WHOLE_DAYS = 8
"""The newest days are all there; of a longer lookback its first ones, and some between."""
DAYS_BETWEEN = 8
NEAR_ROWS, FAR_ROWS = 2_500, 1_200
"""The most records of a topic, of the days around the one that is looked at and of those before; what is cut is
cut by the key, so that plans keep their outcomes."""
AROUND = 2
"""Days before the one that is looked at whose records follow each other closely enough to be kept together."""


@dataclass(frozen=True)
class CheckSample:
    """Records up to the day after `day`, which is the one that is looked at; `origin` says where they are from."""

    world: World
    day: date
    origin: str
    made_up: bool = False

    def within(self, horizons: Iterable[Horizon]) -> dict[str, list[date]]:
        """The day of each horizon, and the day before it: a range, as `build` is asked for one."""
        return {horizon.name: [self.day - DAY, self.day] for horizon in horizons}


def read_sample(context: Context) -> CheckSample:
    """The sample of a use case, from its lake or its source; generated if neither has two days or can be reached.

    Raises `DataError` for data that break their contract, and any error of the source's own code.
    """
    contracts = context.use_case.contracts
    sample = _published(context, contracts)
    if sample is not None:
        return sample
    try:
        sample = _delivered(context, contracts)
    except FaultError as error:
        return _made_up(context.use_case.spec, contracts, str(error))
    return sample or _made_up(context.use_case.spec, contracts, "the source has no two days in a row")


def _published(context: Context, contracts: Mapping[str, Contract]) -> CheckSample | None:
    spec = context.use_case.spec
    published = {topic.name: set(context.lake.days(Dataset(Layer.RAW, topic.name))) for topic in spec.topics}
    common = set.intersection(*published.values())
    last = max((day for day in common if day - DAY in common), default=None)
    if last is None:
        return None

    def read(topic: Topic, day: date) -> pa.Table | None:
        there = day in published[topic.name]
        return context.lake.read(Dataset(Layer.RAW, topic.name).on(day)) if there else None

    return CheckSample(_world(spec, contracts, last - DAY, read), last - DAY, f"the lake, {last - DAY}")


def _delivered(context: Context, contracts: Mapping[str, Contract]) -> CheckSample | None:
    spec = context.use_case.spec
    source = context.use_case.source(context.settings)
    yesterday = datetime.now(spec.zone).date() - DAY
    first, last = max(spec.first_day, source.first_day), min(spec.last_day, source.last_day, yesterday)
    if last - DAY < first:
        return None

    def read(topic: Topic, day: date) -> pa.Table | None:
        if not first <= day <= last + timedelta(days=topic.day_offset):
            return None
        contract, where = contracts[topic.name], f"source: {topic.name} of {day}"
        records = source.read(topic.name, day)
        if not records.num_columns:
            return None
        result = conform(records, contract, where)
        if result.bad.num_rows > contract.max_quarantined * records.num_rows:
            raise DataError(
                f"{where}: {describe(result.worst, records)}; the day would be refused: correct source or contract"
            )
        return result.good

    return CheckSample(_world(spec, contracts, last - DAY, read), last - DAY, f"the source, {last - DAY}")


def _made_up(spec: UseCaseSpec, contracts: Mapping[str, Contract], why: str) -> CheckSample:
    day = min(spec.last_day, spec.first_day + timedelta(days=spec.lookback_days) + DAY)
    world = _world(spec, contracts, day, MadeUp(spec, contracts).read)
    return CheckSample(world, day, f"made-up records of {day} ({why})", made_up=True)


def _world(spec: UseCaseSpec, contracts: Mapping[str, Contract], day: date, read: Read) -> World:
    return {topic.name: _records(spec, topic, contracts[topic.name], day, read) for topic in spec.topics}


def _records(spec: UseCaseSpec, topic: Topic, contract: Contract, day: date, read: Read) -> TopicRecords:
    tables = {each: table for each in _days(spec, topic, day) if (table := read(topic, each)) is not None}
    return _thinned(TopicRecords.of(topic, contract, tables), spec.key, day)


def _days(spec: UseCaseSpec, topic: Topic, day: date) -> list[date]:
    """The days of a topic that are looked at: the lookback of the day before, up to what is published a day later."""
    oldest = max(spec.first_day, day - DAY - timedelta(days=spec.lookback_days))
    newest = day + DAY + timedelta(days=topic.day_offset)
    days = days_between(oldest, newest)
    between = days[3:-WHOLE_DAYS]
    kept = between[:: -(-len(between) // DAYS_BETWEEN) or 1]
    return sorted({*days[:3], *kept, *days[-WHOLE_DAYS:]})


def _thinned(records: TopicRecords, key: str, day: date) -> TopicRecords:
    if key not in records.table.column_names:
        return records
    near = records.days > np.datetime64(day - timedelta(days=AROUND))
    kept = np.ones(len(near), dtype=bool)
    keys = np.array(records.table[key].to_pylist(), dtype=object)
    for side, rows in ((near, NEAR_ROWS), (~near, FAR_ROWS)):
        if (parts := -(-int(side.sum()) // rows)) > 1:
            kept[side] = [part == 0 for part in _parts(keys[side], parts)]
    return records.where(kept)


def _parts(keys: Iterable[object], parts: int) -> Iterable[int]:
    return (zlib.crc32(str(key).encode()) % parts for key in keys)
