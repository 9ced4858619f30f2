"""The stream of ice cream: what a kiosk's till says when it closes."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, date, datetime, time, timedelta

from include.ingestion.collector import TimedRecord
from include.ingestion.rules import Composed
from include.ingestion.streams import Stream
from include.quality.contract import Column, Kind
from include.sources.source import Source
from tests.use_cases.ice_cream.contracts import RAW
from tests.use_cases.ice_cream.spec import SPEC

CLOSES = time(22, 0)

TILLS = Stream(
    name="tills",
    title="What kiosks have sold",
    table="kiosk_sales",
    key="kiosk",
    natural_key=("kiosk_day", "date"),
    day="date",
    anchor="closed_at",
    tolerance=timedelta(days=2),
    versions={1: (*RAW["sales"].columns, Column("closed_at", Kind.INSTANT))},
    rules=(Composed("kiosk_day", "{date}-{kiosk}"),),
)
STREAMS = {TILLS.name: TILLS}


def events(source: Source, topic: str, day: date) -> Iterator[TimedRecord]:
    """A day's sales, known as the kiosks close; the files hold text, messages what the contract says."""
    closed = datetime.combine(day, CLOSES, SPEC.zone).astimezone(UTC)
    for row in source.read("sales", day).to_pylist():
        typed = {"date": day, "sold": int(row["sold"]), "sold_out": row["sold_out"] == "true"}
        yield TimedRecord(closed, {**row, **typed, "closed_at": closed})
