"""What came of it: minutes late on arrival."""

from __future__ import annotations

from datetime import datetime

import pandas as pd
import pyarrow as pa


def labels(outcomes: pa.Table, known_by: datetime) -> pd.DataFrame:
    """Columns `flight_id` and `label` of the flights that arrived; a day's arrivals are known when it is over."""
    arrived = outcomes.select(["flight_id", "arr_delay"]).to_pandas().dropna()
    return arrived.rename(columns={"arr_delay": "label"})
