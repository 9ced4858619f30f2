"""The outcome of a flight: late means that it arrived more than 15 minutes after its schedule."""

from __future__ import annotations

from datetime import datetime

import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

LATE_MINUTES = 15
"""The line the design draws (docs/choosing.md); at exactly 15 minutes a flight still counts as on time."""


def labels(outcomes: pa.Table, known_by: datetime) -> pd.DataFrame:
    """Columns `flight_id` and `label` (1 late, 0 not) of the `flights` rows that had landed by `known_by`.

    Cancelled and diverted flights have no label, nor has a flight still in the air.
    """
    known = pc.less_equal(outcomes["arrived_at"], pa.scalar(known_by, pa.timestamp("us", tz="UTC")))
    landed = outcomes.select(["flight_id", "arr_delay"]).filter(
        pc.and_kleene(known, pc.is_valid(outcomes["arr_delay"]))
    )
    late = pc.greater(landed["arr_delay"], LATE_MINUTES)
    return pd.DataFrame({"flight_id": landed["flight_id"].to_pandas(), "label": late.to_pandas().astype("float64")})
