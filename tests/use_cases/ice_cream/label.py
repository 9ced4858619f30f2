"""The outcome: whether a kiosk had sold out by the time it closed."""

from __future__ import annotations

from datetime import datetime

import pandas as pd
import pyarrow as pa


def labels(outcomes: pa.Table, known_by: datetime) -> pd.DataFrame:
    """Columns `kiosk_day`, `date` and `label`.

    A day's sales are known when it is over, and `known_by` never precedes that.
    """
    return pd.DataFrame(
        {
            "kiosk_day": outcomes["kiosk_day"].to_pandas(),
            "date": outcomes["date"].to_pandas(),
            "label": outcomes["sold_out"].to_pandas().astype("float64"),
        }
    )
