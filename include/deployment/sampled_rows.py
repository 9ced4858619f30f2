"""Feature rows of a day, evenly spread, to try a version on when there is no traffic."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from datetime import date, timedelta
from typing import Any

import numpy as np
import pyarrow as pa

from formats.portable_model import ModelInput
from include.errors import StepError
from include.modelling.scoring import feature_partition, load_model, raw_rows
from include.step import Context

MOST_ROWS = 1000
"""As many as one deployment may carry."""

log = logging.getLogger("nightshift")


def evenly(table: pa.Table, rows: int) -> pa.Table:
    """At most this many rows, evenly spread: the same ones each time."""
    places = np.unique(np.linspace(0, table.num_rows - 1, min(rows, table.num_rows)).round().astype(np.int64))
    return table.take(pa.array(places))


def sampled_rows(context: Context, models: Sequence[str], data_day: date, rows: int) -> list[dict[str, Any]]:
    """At most this many rows over all horizons of a run's day, with the inputs of the models of those hashes.

    Without features, or without the models' files, there are none: a version is then tried on requests only.
    """
    horizons = context.use_case.spec.horizons
    share = min(rows, MOST_ROWS) // len(horizons)
    found: list[dict[str, Any]] = []
    try:
        inputs = _inputs(context, models)
        for horizon in horizons:
            partition = feature_partition(horizon, data_day + timedelta(days=horizon.day_offset))
            if context.lake.manifest(partition) is not None:
                found += raw_rows(evenly(context.lake.read(partition), share), inputs)
    except StepError as error:
        log.warning("no sample rows for the shadow: %s", error)
        return []
    return found


def _inputs(context: Context, models: Sequence[str]) -> list[ModelInput]:
    inputs = [column for sha256 in models for column in load_model(context.lake, sha256).inputs]
    return list({column.name: column for column in inputs}.values())
