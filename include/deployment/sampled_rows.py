"""Feature rows of a day, evenly spread, to try a version on when there is no traffic."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from datetime import date, timedelta
from typing import Any

import numpy as np
import pyarrow as pa

from formats.portable_model import PortableModel
from include.errors import StepError
from include.modelling.scoring import feature_partition, raw_rows
from include.step import Context

MOST_ROWS = 1000
"""More cost time and say nothing new."""

log = logging.getLogger("nightshift")


def evenly(table: pa.Table, rows: int) -> pa.Table:
    """At most this many rows, evenly spread: the same ones each time."""
    places = np.unique(np.linspace(0, table.num_rows - 1, min(rows, table.num_rows)).round().astype(np.int64))
    return table.take(pa.array(places))


def sampled_rows(context: Context, models: Sequence[PortableModel], data_day: date, rows: int) -> list[dict[str, Any]]:
    """At most this many rows over all horizons of a run's day, with the inputs of the models.

    Without features there are none: a version is then tried on requests only.
    """
    horizons = context.use_case.spec.horizons
    share = min(rows, MOST_ROWS) // len(horizons)
    found: list[dict[str, Any]] = []
    inputs = list({column.name: column for model in models for column in model.inputs}.values())
    try:
        for horizon in horizons:
            partition = feature_partition(horizon, data_day + timedelta(days=horizon.day_offset))
            if context.lake.manifest(partition) is not None:
                found += raw_rows(evenly(context.lake.read(partition), share), inputs)
    except StepError as error:
        log.warning("no sample rows for the shadow: %s", error)
        return []
    return found
