"""What a forced run replaced is deleted after its grace, in lookups and candidates as in tables."""

from __future__ import annotations

import os
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import pyarrow as pa
import pytest

from include.storage.delta_log import DeltaLog
from include.storage.lake import Dataset, Lake, Layer
from include.storage.store import open_store
from include.storage.superseded import vacuum

DAY = date(2026, 6, 15)
WEEK = timedelta(days=7)
LOOKUPS = Dataset(Layer.LOOKUPS, "nightly")


@pytest.fixture
def lake(tmp_path: Path) -> Lake:
    """An empty lake in a folder."""
    return Lake(open_store(str(tmp_path / "lake")), "case")


def files(lake: Lake, dataset: Dataset) -> list[str]:
    """The content of each published file of a day."""
    names = lake.store.names(f"{lake.prefix}/{dataset.on(DAY)}")
    return sorted(lake.store.read(name).decode() for name in names if not name.endswith("_manifest.json"))


def aged(tmp_path: Path, days: float, *, manifests: bool = True) -> None:
    """Let all files, or all but the manifests, be older by this many days."""
    moment = (datetime.now(UTC) - timedelta(days=days)).timestamp()
    for path in (tmp_path / "lake").rglob("*.*"):
        if path.is_file() and (manifests or path.name != "_manifest.json"):
            os.utime(path, (moment, moment))


@pytest.mark.parametrize("layer", [Layer.LOOKUPS, Layer.CANDIDATES, Layer.QUALITY, Layer.DECISIONS])
def test_what_was_replaced_goes_after_its_grace_and_nothing_else(layer: Layer, lake: Lake, tmp_path: Path) -> None:
    dataset = Dataset(layer, "one")
    lake.publish(dataset.on(DAY), {"a.json": b"first", "b.json": b"kept"})
    lake.publish(dataset.on(DAY), {"a.json": b"second", "b.json": b"kept"}, force=True)

    aged(tmp_path, 6)
    vacuum(lake, grace=WEEK)
    assert files(lake, dataset) == ["first", "kept", "second"]

    aged(tmp_path, 8)
    vacuum(lake, grace=WEEK)
    assert files(lake, dataset) == ["kept", "second"]


def test_an_old_day_that_is_forced_now_keeps_its_old_files_for_the_grace(lake: Lake, tmp_path: Path) -> None:
    lake.publish(LOOKUPS.on(DAY), {"lookup.json": b"first"})
    aged(tmp_path, 100)
    lake.publish(LOOKUPS.on(DAY), {"lookup.json": b"second"}, force=True)

    vacuum(lake, grace=WEEK)

    assert files(lake, LOOKUPS) == ["first", "second"]


def test_the_same_holds_for_tables(lake: Lake, tmp_path: Path) -> None:
    sales = Dataset(Layer.RAW, "sales")
    log = DeltaLog(lake, str(sales))
    lake.publish(sales.on(DAY), {"rows.parquet": pa.table({"amount": [1]})})
    log.follow(WEEK)
    reader = log.open()
    aged(tmp_path, 100)
    lake.publish(sales.on(DAY), {"rows.parquet": pa.table({"amount": [2]})}, force=True)

    log.follow(WEEK)

    # A reader that opened the table before goes on
    assert reader is not None and reader.to_pyarrow_table()["amount"].to_pylist() == [1]
    aged(tmp_path, 8)
    log.follow(WEEK)
    assert len([name for name in lake.store.names(f"case/{sales.on(DAY)}") if name.endswith(".parquet")]) == 1


def test_a_file_that_is_put_again_stays(lake: Lake, tmp_path: Path) -> None:
    lake.publish(LOOKUPS.on(DAY), {"lookup.json": b"first"})
    lake.publish(LOOKUPS.on(DAY), {"lookup.json": b"second"}, force=True)
    aged(tmp_path, 8)
    # A publisher that is about to make the old content count again has put its file, and not yet its manifest
    name = next(name for name in lake.store.names(f"case/{LOOKUPS.on(DAY)}") if lake.store.read(name) == b"first")
    lake.store.replace(name, b"first")

    vacuum(lake, grace=WEEK)

    assert files(lake, LOOKUPS) == ["first", "second"]


def test_another_process_is_followed_by_the_names_of_its_datasets(lake: Lake, tmp_path: Path) -> None:
    lake.publish(LOOKUPS.on(DAY), {"lookup.json": b"first"})
    lake.publish(LOOKUPS.on(DAY), {"lookup.json": b"second"}, force=True)
    aged(tmp_path, 8)
    later = Lake(lake.store, "case")

    vacuum(later, grace=WEEK)
    assert files(lake, LOOKUPS) == ["first", "second"]

    vacuum(later, ["lookups/nightly", "lookups/nothing"], grace=WEEK)
    assert files(lake, LOOKUPS) == ["second"]
