"""What an hour must look like."""

from __future__ import annotations

from include.quality.contract import Column, Contract, Kind

RAW = {
    "hours": Contract(
        "hours",
        columns=(
            Column("hour_id", Kind.TEXT),
            Column("date", Kind.DATE),
            Column("airport", Kind.TEXT, one_of=("EWR", "JFK", "LGA")),
            Column("hour", Kind.INTEGER, minimum=0, maximum=23),
            Column("temperature", Kind.NUMBER, required=False, minimum=-20, maximum=120, note="°F"),
        ),
        key=("hour_id",),
        order=("airport", "hour"),
    )
}
