"""What a plan and a day's sales must look like."""

from __future__ import annotations

from include.quality.contract import Column, Contract, Kind

_KIOSK = (
    Column("kiosk_day", Kind.TEXT),
    Column("date", Kind.DATE),
    Column("kiosk", Kind.TEXT),
)

RAW = {
    "plans": Contract(
        "plans",
        columns=(
            *_KIOSK,
            Column("stock", Kind.INTEGER, minimum=1, note="kg delivered in the morning"),
            Column("forecast", Kind.NUMBER, minimum=-20, maximum=50, note="°C at noon, as forecast the evening before"),
        ),
        key=("kiosk_day",),
        order=("kiosk_day",),
    ),
    "sales": Contract(
        "sales",
        columns=(*_KIOSK, Column("sold", Kind.INTEGER, minimum=0), Column("sold_out", Kind.FLAG)),
        key=("kiosk_day",),
        order=("kiosk_day",),
    ),
}
