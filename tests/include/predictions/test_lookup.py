"""What serving can look up of a day's predictions."""

from __future__ import annotations

import json
from datetime import UTC, date, datetime

import pyarrow as pa

from formats.lookup import LookupFile
from include.predictions.lookup import Lookup

PREDICTIONS = pa.table(
    {
        "shop": ["1", "2"],
        "opened": pa.array([date(2026, 6, 1), None]),
        "as_of": pa.array([datetime(2026, 6, 15, 5, 10, 9, 123_000, UTC)] * 2, pa.timestamp("us", "UTC")),
        "probability": [0.25, float("nan")],
    }
)
NOTHING = pa.table({})


def test_predictions_are_columns_of_json_in_their_order() -> None:
    body = json.loads(Lookup(groups=("opened",)).to_json(PREDICTIONS, NOTHING, "shop"))
    assert body == {
        "key": "shop",
        "groups": ["opened"],
        "order": "",
        "predictions": {
            "shop": ["1", "2"],
            "opened": ["2026-06-01", None],
            "as_of": ["2026-06-15T05:10:09Z"] * 2,
            "probability": [0.25, None],
        },
        "tables": {},
    }
    assert set(body) == set(LookupFile.__struct_fields__)


def test_a_use_case_may_put_columns_and_tables_beside_them() -> None:
    def beside(predictions: pa.Table, features: pa.Table) -> tuple[pa.Table, dict[str, pa.Table]]:
        return predictions.append_column("heat", features["heat"]), {"towns": pa.table({"name": ["Rome"]})}

    body = json.loads(Lookup(beside=beside).to_json(PREDICTIONS, pa.table({"heat": [30.5, None]}), "shop"))
    assert body["predictions"]["heat"] == [30.5, None]
    assert body["tables"] == {"towns": {"name": ["Rome"]}}


def test_equal_tables_are_equal_bytes_however_they_are_cut() -> None:
    cut = pa.concat_tables([PREDICTIONS.slice(0, 1), PREDICTIONS.slice(1)])
    assert Lookup().to_json(cut, NOTHING, "shop") == Lookup().to_json(PREDICTIONS, NOTHING, "shop")
