"""Rows that name no day: in quarantine once, not with every day that is read."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Collection, Mapping
from datetime import date

import numpy as np

from include.errors import DataError
from include.quality.breaches import Breach, RowRule, examples
from include.quality.contract import Contract
from include.quality.quarantine import quarantine
from include.sources.source import DatedRows, Source, Undated
from include.storage.lake import Dataset, Lake, Layer, Partition

NO_DAY = date.min
"""The day of the quarantine partition that holds them."""

log = logging.getLogger("nightshift")


def set_apart(
    lake: Lake,
    source: Source,
    contracts: Mapping[str, Contract],
    wanted: Collection[Partition],
    own: Collection[Partition],
    *,
    renewed: Collection[Partition] = (),
) -> Counter[str]:
    """Put the rows of each topic to be read that name no day into quarantine; how many by the rule that they break.

    Any of them may belong to the run's day: raises `DataError` if they would be too many of the rows of its `own`
    partition. For a topic that is only `renewed`, the source may have nothing any more.
    """
    found = Counter[str]()
    if not isinstance(source, DatedRows):
        return found
    for topic in sorted({partition.dataset.name for partition in wanted}):
        read = [partition for partition in wanted if partition.dataset.name == topic]
        try:
            undated = source.undated(topic)
        except DataError:
            if set(read) <= set(renewed):
                continue
            raise
        if undated is None or not _keep(lake, topic, undated):
            continue
        found[f"{RowRule.TYPE} {undated.column}"] += undated.rows.num_rows
        for partition in set(read) & set(own):
            _require_few(lake, undated, partition, source.read(topic, partition.day).num_rows, contracts[topic])
        log.warning("extract: %s; kept in %s", _told(undated), _kept(topic))
    return found


def _require_few(lake: Lake, undated: Undated, partition: Partition, rows: int, contract: Contract) -> None:
    if undated.rows.num_rows > contract.max_quarantined * (rows + undated.rows.num_rows):
        raise DataError(
            f"{_told(undated)}; they may be of {partition.day}, which has {rows} rows beside them, and more than "
            f"{contract.max_quarantined:.0%} would be bad: correct the source (a day is written YYYY-MM-DD; instants "
            f"need a calendar in Files), see {lake.uri(_kept(partition.dataset.name))}"
        )


def _kept(topic: str) -> Partition:
    return Dataset(Layer.QUARANTINE, topic).on(NO_DAY)


def _keep(lake: Lake, topic: str, undated: Undated) -> bool:
    """Replace the rows without a day in quarantine; whether there are any."""
    if undated.rows.num_rows or lake.manifest(_kept(topic)):
        breach = _dayless(undated)
        lake.publish(_kept(topic), {"rows.parquet": quarantine(undated.rows, breach.rows, [breach])}, force=True)
    return bool(undated.rows.num_rows)


def _dayless(undated: Undated) -> Breach:
    rows = np.ones(undated.rows.num_rows, dtype=bool)
    return Breach(RowRule.TYPE, undated.column, rows, f"{undated.column} names no day")


def _told(undated: Undated) -> str:
    breach = _dayless(undated)
    return (
        f"source: {undated.where}: rule {breach.rule}, column {breach.column}: {undated.rows.num_rows} of {undated.of} "
        f"rows ({breach.reason}), such as {', '.join(examples(breach, undated.rows))}"
    )
