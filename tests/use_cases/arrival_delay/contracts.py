"""What a flight must look like."""

from __future__ import annotations

from include.quality.contract import Column, Contract, Kind

RAW = {
    "flights": Contract(
        "flights",
        columns=(
            Column("flight_id", Kind.TEXT),
            Column("date", Kind.DATE),
            Column("carrier", Kind.TEXT),
            Column("dest", Kind.TEXT),
            Column("hour", Kind.INTEGER, minimum=0, maximum=23),
            Column("distance", Kind.INTEGER, minimum=1, note="miles"),
            Column("departed_at", Kind.INSTANT),
            Column("dep_delay", Kind.INTEGER, minimum=-60, maximum=1500, note="minutes"),
            Column("arr_delay", Kind.INTEGER, required=False, minimum=-120, maximum=1500, note="minutes"),
        ),
        key=("flight_id",),
        order=("flight_id",),
    )
}
