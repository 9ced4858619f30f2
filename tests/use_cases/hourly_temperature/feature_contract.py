"""A feature row: an hour of tomorrow, and what the same hour and the whole day were like before."""

from __future__ import annotations

from include.quality.contract import Column, Contract, Kind

INPUTS = ("airport", "hour", "same_hour_1d", "same_hour_3d", "day_mean_1d")
_DEGREES = "°F, of the days before this run's day is over"

FEATURES = Contract(
    "features",
    columns=(
        Column("hour_id", Kind.TEXT),
        Column("date", Kind.DATE),
        Column("as_of", Kind.INSTANT),
        Column("airport", Kind.TEXT),
        Column("hour", Kind.INTEGER),
        Column("same_hour_1d", Kind.NUMBER, required=False, note=_DEGREES),
        Column("same_hour_3d", Kind.NUMBER, required=False, note=_DEGREES),
        Column("day_mean_1d", Kind.NUMBER, required=False, note=_DEGREES),
    ),
    key=("hour_id",),
    order=("hour_id",),
)
