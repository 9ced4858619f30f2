"""What came of it: the temperature of the hour."""

from __future__ import annotations

from datetime import datetime

import pandas as pd
import pyarrow as pa


def labels(outcomes: pa.Table, known_by: datetime) -> pd.DataFrame:
    """Columns `hour_id` and `label`; a day's hours are known when it is over."""
    measured = outcomes.select(["hour_id", "temperature"]).to_pandas().dropna()
    return measured.rename(columns={"temperature": "label"})
