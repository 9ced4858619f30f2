"""A feature row of ice cream: two features."""

from __future__ import annotations

from include.quality.contract import Column, Contract, Kind

INPUTS = ("forecast", "sold_out_rate")
CATEGORIES: tuple[str, ...] = ()

FEATURES = Contract(
    "features",
    columns=(
        Column("kiosk_day", Kind.TEXT),
        Column("date", Kind.DATE),
        Column("kiosk", Kind.TEXT),
        Column("as_of", Kind.INSTANT),
        Column("forecast", Kind.NUMBER, minimum=-20, maximum=50),
        Column("sold_out_rate", Kind.NUMBER, required=False, minimum=0, maximum=1, note="over the seven days before"),
    ),
    key=("kiosk_day",),
    order=("kiosk_day",),
)
