"""A feature row: the flight as it left, and the delay of others to its destination."""

from __future__ import annotations

from include.quality.contract import Column, Contract, Kind

INPUTS = ("dep_delay", "hour", "distance", "carrier", "dest_delay")

FEATURES = Contract(
    "features",
    columns=(
        Column("flight_id", Kind.TEXT),
        Column("date", Kind.DATE),
        Column("as_of", Kind.INSTANT),
        Column("carrier", Kind.TEXT),
        Column("hour", Kind.INTEGER),
        Column("distance", Kind.INTEGER),
        Column("dep_delay", Kind.INTEGER, note="minutes"),
        Column("dest_delay", Kind.NUMBER, required=False, note="mean minutes late on arrival, over five days"),
    ),
    key=("flight_id",),
    order=("flight_id",),
)
