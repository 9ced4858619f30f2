"""What came of it: ten minutes early, more than fifteen late, or neither."""

from __future__ import annotations

from datetime import datetime

import numpy as np
import pandas as pd
import pyarrow as pa

EARLY, LATE = -10, 15


def labels(outcomes: pa.Table, known_by: datetime) -> pd.DataFrame:
    """Columns `flight_id` and `label` of the flights that arrived; a day's arrivals are known when it is over."""
    arrived = outcomes.select(["flight_id", "arr_delay"]).to_pandas().dropna()
    delay = arrived["arr_delay"]
    label = np.select([delay <= EARLY, delay > LATE], ["early", "late"], "on time")
    return pd.DataFrame({"flight_id": arrived["flight_id"], "label": label})
