"""One file of all days: each of its rows is in one day's raw rows or in quarantine, whatever its date column says."""

from __future__ import annotations

import csv
import tempfile
from dataclasses import replace
from datetime import UTC, date, datetime, time, timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from include.errors import DataError
from include.quality.undated import NO_DAY
from include.sources.row_days import row_days
from include.sources.source import DatedRows
from include.sources.tabular import Files, TabularSource
from include.step import Context
from include.steps.extract import ExtractArguments, extract
from include.storage.lake import Dataset, Layer, days_between
from tests.small_case import DAY, FIRST, SPEC, small_context

RAW, QUARANTINE = Dataset(Layer.RAW, "sales"), Dataset(Layer.QUARANTINE, "sales")
READ = days_between(DAY - timedelta(days=SPEC.history_days + SPEC.lookback_days), DAY)
"""The days that a first run of DAY reads."""
NO_DATES = ["", " ", "NA", "yesterday", "20/05/2026", "20260520", "2026-05-20T23:30:00Z", "2026-02-30", "2026-05"]


def context(folder: Path, days: list[Any], *, dates: pa.DataType | None = None, **contract: Any) -> Context:
    """A use case whose sales are one file, a row for each of the days: CSV, or Parquet with this type of date."""
    columns = {
        "id": [f"s-{number}" for number in range(len(days))],
        "shop": ["north"] * len(days),
        "amount": ["1"] * len(days),
        "note": [""] * len(days),
        "at": ["2026-05-20T08:00:00Z"] * len(days),
    }
    with (folder / "plans.csv").open("w") as file:
        planned = days_between(FIRST, DAY + timedelta(days=2))
        csv.writer(file).writerows([["id", "amount", "day"], *(["s-1", "1", day] for day in planned)])
    if dates is None:
        with (folder / "sales.csv").open("w") as file:
            csv.writer(file).writerows([[*columns, "day"], *zip(*columns.values(), days, strict=True)])
    else:
        pq.write_table(pa.table({**columns, "day": pa.array(days, dates)}), folder / "sales.parquet")
    files = {
        "sales": Files("sales.csv" if dates is None else "sales.parquet", "day"),
        "plans": Files("plans.csv", "day"),
    }
    return small_context(folder, TabularSource(str(folder), files, first_day=FIRST), min_rows=0, **contract)


def run(context: Context, day: date = DAY) -> dict[str, Any]:
    return dict(extract(context, ExtractArguments(use_case="small", date=day)).facts)


def rows(context: Context, dataset: Dataset) -> int:
    return sum(context.lake.require(dataset.on(day)).rows for day in context.lake.days(dataset))


DATES = st.one_of(st.sampled_from([day.isoformat() for day in READ]), st.sampled_from(NO_DATES))


@pytest.mark.slow
@settings(max_examples=20, deadline=None)
@given(days=st.lists(DATES, max_size=30), tolerated=st.sampled_from([0.0, 0.3, 1.0]), text=st.booleans())
def test_no_row_of_the_file_vanishes(days: list[str], tolerated: float, text: bool) -> None:
    with tempfile.TemporaryDirectory() as folder:
        case = context(Path(folder), days, dates=pa.string() if text else None, max_quarantined=tolerated)
        try:
            run(case)
        except DataError as error:
            undated = sum(day not in map(str, READ) for day in days)
            assert (
                f"/sales.{'parquet' if text else 'csv'}: rule type, column day: {undated} of {len(days)} rows"
                in str(error)
            )
            assert tolerated < 1
        else:
            assert rows(case, RAW) + rows(case, QUARANTINE) == len(days)


def test_dates_that_the_contract_takes_are_cut_however_they_are_written(tmp_path: Path) -> None:
    case = context(tmp_path, ["2026-05-20", "2026-5-20", " 2026-05-20 ", "2026-05-20T00:00:00", "2026-05-20 00:00"])
    assert run(case)["quarantined"] == 0
    assert case.lake.require(RAW.on(DAY)).rows == 5


WRITTEN = [
    (pa.date32(), DAY, None),
    (pa.timestamp("us"), datetime.combine(DAY, time()), None),
    (pa.string(), str(DAY), "20.05.2026"),
    (pa.dictionary(pa.int32(), pa.string()), str(DAY), "soon"),
]


@pytest.mark.parametrize(("kind", "day", "none"), WRITTEN, ids=[str(kind) for kind, _, _ in WRITTEN])
def test_dates_of_any_type_are_cut_alike(tmp_path: Path, kind: pa.DataType, day: Any, none: Any) -> None:
    case = context(tmp_path, [day] * 19 + [none], dates=kind)
    assert run(case)["breaches"] == {"type day": 1}
    assert case.lake.require(RAW.on(DAY)).rows == 19
    assert case.lake.require(QUARANTINE.on(NO_DAY)).rows == 1


@pytest.mark.parametrize(
    ("kind", "value"),
    [
        (pa.int64(), 20260520),
        (pa.timestamp("us", "UTC"), datetime(2026, 5, 20, 8, tzinfo=UTC)),
        (pa.string(), "2026-05-20T08:00:00Z"),
        (pa.string(), None),
    ],
    ids=["integer", "instant", "text of an instant", "nothing"],
)
def test_a_file_whose_dates_are_none_stops_the_run(tmp_path: Path, kind: pa.DataType, value: Any) -> None:
    case = context(tmp_path, [value] * 5, dates=kind)
    with pytest.raises(DataError) as raised:
        run(case)
    message = str(raised.value)
    assert message.startswith(
        f"source: {tmp_path}/sales.parquet: rule type, column day: 5 of 5 rows (day names no day)"
    )
    assert "; they may be of 2026-05-20, which has 0 rows beside them" in message
    assert "correct the source (a day is written YYYY-MM-DD; instants need a calendar in Files), see file://" in message
    assert case.lake.days(RAW) == []


def test_few_rows_without_a_day_are_kept_once_however_many_nights_meet_them(tmp_path: Path) -> None:
    days = [str(day) for day in days_between(FIRST, DAY + timedelta(days=1)) for _ in range(20)]
    for night in (DAY, DAY + timedelta(days=1)):
        case = context(tmp_path, [*days, "14/05/2026"])
        assert run(case, night)["quarantined"] == 1
    assert rows(case, QUARANTINE) == 1


def test_a_mended_file_clears_what_was_kept(tmp_path: Path) -> None:
    days = [str(DAY)] * 19
    run(context(tmp_path, [*days, "soon"]), DAY)
    case = context(tmp_path, [*days, str(DAY - timedelta(days=6))])
    extract(case, ExtractArguments(use_case="small", date=DAY, force=True))
    assert case.lake.require(QUARANTINE.on(NO_DAY)).rows == 0


LATE = replace(SPEC, cron="59 23 * * *")
NEW_YORK = replace(LATE, timezone="America/New_York", day_starts=time(3))


@pytest.mark.parametrize("kind", [pa.timestamp("us", "UTC"), pa.string()])
def test_instants_are_cut_by_the_calendar_of_the_use_case(tmp_path: Path, kind: pa.DataType) -> None:
    instants = [datetime(2026, 5, 20, hour, 30, tzinfo=UTC) for hour in (6, 7, 23)] + [None]
    values = [str(one) if one and pa.types.is_string(kind) else one for one in instants]
    pq.write_table(pa.table({"at": pa.array(values, kind), "n": [0, 1, 2, 3]}), tmp_path / "all.parquet")
    source = TabularSource(str(tmp_path), {"sales": Files("all.parquet", "at", NEW_YORK)}, first_day=FIRST)
    assert isinstance(source, DatedRows)
    found = [source.read("sales", day)["n"].to_pylist() for day in (date(2026, 5, 19), date(2026, 5, 20))]
    undated = source.undated("sales")
    assert found == [[0], [1, 2]]
    assert undated is not None
    assert undated.rows["n"].to_pylist() == [3]


def test_a_file_that_is_gone_keeps_what_is_only_to_be_renewed(tmp_path: Path) -> None:
    # Given raw rows that another contract sorted, and a source that has its file no more
    run(context(tmp_path, [str(DAY)] * 20))
    case = context(tmp_path, [str(DAY)] * 20, max_quarantined=0.2)
    (tmp_path / "sales.csv").unlink()
    # Then they stay
    assert run(case)["quarantined"] == 0
    assert case.lake.require(RAW.on(DAY)).rows == 20


ZONES = ["UTC", "America/New_York", "Pacific/Kiritimati", "Pacific/Pago_Pago", "Australia/Lord_Howe", "Europe/Rome"]
NEAR_A_CHANGE = st.datetimes(datetime(2026, 3, 27), datetime(2026, 4, 8)) | st.datetimes(
    datetime(1, 1, 6), datetime(9998, 1, 1)
)


@given(
    moments=st.lists(st.none() | NEAR_A_CHANGE, min_size=1, max_size=5),
    zone=st.sampled_from(ZONES),
    starts=st.times(max_value=time(23)),
)
def test_an_instant_lies_in_the_day_that_it_is_given(moments: list[datetime | None], zone: str, starts: time) -> None:
    calendar = replace(LATE, timezone=zone, day_starts=starts)
    table = pa.table({"at": pa.array(moments, pa.timestamp("us", "UTC"))})
    for moment, day in zip(moments, row_days(table, "at", calendar, "test").to_pylist(), strict=True):
        if moment is None:
            assert day is None
        else:
            assert calendar.day_start(day) <= moment.replace(tzinfo=UTC) < calendar.day_end(day)


def test_rows_outside_the_source_s_days_are_told(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / "all.csv").write_text("day,n\n1970-01-01,1\n2026-05-20,2\n2062-05-20,3\n")
    caplog.set_level("INFO", "nightshift")
    source = TabularSource(
        str(tmp_path), {"sales": Files("all.csv", "day")}, first_day=FIRST, last_day=date(2026, 12, 31)
    )
    source.read("sales", DAY)
    assert caplog.messages == [
        f"source: {tmp_path}/all.csv has 3 rows of 1970-01-01 … 2062-05-20, 1 before first_day 2026-05-01, "
        "1 after last_day 2026-12-31"
    ]
