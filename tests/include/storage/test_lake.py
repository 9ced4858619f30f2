"""A partition exists, whole, from the moment its manifest does; in a folder and in a (mock) bucket alike."""

from __future__ import annotations

import json
import multiprocessing
import tempfile
from collections.abc import Callable
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from formats.manifest import MANIFEST, Manifest
from include.errors import DataError, LakeError, SettingsError
from include.storage.lake import Dataset, Lake, Layer, days_between
from include.storage.store import open_store
from stores.store import Store
from tests.waiting import PATIENCE

FLIGHTS = Dataset(Layer.RAW, "flights")
DAY = date(2013, 10, 1)
TABLE = pa.table({"n": [3, 1, 2], "name": ["c", None, "b"]})


@pytest.fixture
def lake(store: Store) -> Lake:
    return Lake(store, "case")


def test_a_dataset_that_never_was_is_taken_for_a_misspelt_one(lake: Lake) -> None:
    lake.publish(FLIGHTS.on(DAY), {"rows.parquet": TABLE})
    with pytest.raises(DataError, match=r"'flight' is none of flights; did you mean flights\?"):
        lake.require(Dataset(Layer.RAW, "flight").on(DAY))
    with pytest.raises(DataError, match="run the step that makes raw/flights first"):
        lake.require(FLIGHTS.on(date(2013, 10, 2)))


def test_what_is_published_is_read_back_in_its_order(lake: Lake) -> None:
    manifest = lake.publish(FLIGHTS.on(DAY), {"rows.parquet": TABLE, "note.txt": b"hello"}, inputs={"raw": "1"})
    assert lake.read(FLIGHTS.on(DAY)).equals(TABLE)
    assert lake.read(FLIGHTS.on(DAY), ["name"]).column_names == ["name"]
    wanted = r"raw/flights/data_day=[-0-9]+: column 'gust' is none of .*; a column that is new comes with --force"
    with pytest.raises(DataError, match=wanted):
        lake.read(FLIGHTS.on(DAY), ["name", "gust"])
    assert lake.read_file(FLIGHTS.on(DAY), "note.txt") == b"hello"
    assert lake.manifest(FLIGHTS.on(DAY)) == manifest
    assert manifest.rows == 3
    assert manifest.inputs == {"raw": "1"}


def test_equal_content_is_equal_bytes(tmp_path: Path) -> None:
    for name in ("one", "two"):
        Lake(open_store(str(tmp_path / name)), "case").publish(FLIGHTS.on(DAY), {"rows.parquet": TABLE})
    one, two = (
        {path.relative_to(tmp_path / name): path.read_bytes() for path in (tmp_path / name).rglob("*.*")}
        for name in ("one", "two")
    )
    assert one == two


def test_the_first_publisher_wins_and_the_second_is_told_what_is_there(lake: Lake) -> None:
    first = lake.publish(FLIGHTS.on(DAY), {"rows.parquet": TABLE})
    second = lake.publish(FLIGHTS.on(DAY), {"rows.parquet": TABLE.slice(1)})
    assert second == first
    assert lake.read(FLIGHTS.on(DAY)).equals(TABLE)


def test_one_who_comes_second_at_the_last_moment_is_told_too(lake: Lake) -> None:
    # Given two publishers who both saw no manifest
    other, answers = Lake(lake.store, "case"), iter([None])
    seen = other.manifest
    other.manifest = lambda partition: next(answers, None) or seen(partition)  # type: ignore[method-assign]
    # When one publishes and then the other
    first = lake.publish(FLIGHTS.on(DAY), {"rows.parquet": TABLE})
    second = other.publish(FLIGHTS.on(DAY), {"rows.parquet": TABLE.slice(1)})
    # Then the exclusive write decides
    assert second == first
    assert lake.read(FLIGHTS.on(DAY)).equals(TABLE)


def test_force_replaces_a_partition(lake: Lake) -> None:
    lake.publish(FLIGHTS.on(DAY), {"rows.parquet": TABLE})
    lake.publish(FLIGHTS.on(DAY), {"rows.parquet": TABLE.slice(1)}, force=True)
    assert lake.read(FLIGHTS.on(DAY)).num_rows == 2


def test_the_lake_of_an_older_release_is_refused_with_the_remedy(lake: Lake) -> None:
    lake.store.replace("case/raw/flights/date=2013-10-01/_manifest.json", b"{}")
    for read in (lambda: lake.days(FLIGHTS), lambda: lake.require(FLIGHTS.on(DAY))):
        with pytest.raises(
            SettingsError, match=r"date=2013-10-01 is of an older release, .* name another NIGHTSHIFT_LAKE"
        ):
            read()


def test_files_without_a_manifest_are_no_partition(lake: Lake, monkeypatch: pytest.MonkeyPatch) -> None:
    # Given a publisher that dies after its files and before its manifest
    def dies(name: str, content: bytes) -> bool:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(lake.store, "create", dies)
        with pytest.raises(KeyboardInterrupt):
            lake.publish(FLIGHTS.on(DAY), {"rows.parquet": TABLE})
    # Then nobody sees a partition
    assert lake.manifest(FLIGHTS.on(DAY)) is None
    assert lake.days(FLIGHTS) == []
    with pytest.raises(LakeError, match="raw/flights/data_day=2013-10-01 is not published, and nothing else is at"):
        lake.read(FLIGHTS.on(DAY))
    lake.publish(FLIGHTS.on(DAY + timedelta(days=1)), {"rows.parquet": TABLE})
    with pytest.raises(DataError, match="raw/flights/data_day=2013-10-01 is not published; run the step that makes"):
        lake.read(FLIGHTS.on(DAY))
    # And the retry publishes it whole
    lake.publish(FLIGHTS.on(DAY), {"rows.parquet": TABLE})
    assert lake.read(FLIGHTS.on(DAY)).equals(TABLE)


def test_a_damaged_file_is_refused(lake: Lake) -> None:
    lake.publish(FLIGHTS.on(DAY), {"rows.parquet": TABLE})
    file = lake.require(FLIGHTS.on(DAY)).files[0].name
    lake.store.replace(f"case/{FLIGHTS.on(DAY)}/{file}", b"other bytes")
    with pytest.raises(LakeError, match=r"is damaged \(hash differs\); publish it again with --force"):
        lake.read(FLIGHTS.on(DAY))


def test_force_mends_a_damaged_file_though_its_name_stays(lake: Lake) -> None:
    lake.publish(FLIGHTS.on(DAY), {"rows.parquet": TABLE})
    file = lake.require(FLIGHTS.on(DAY)).files[0].name
    lake.store.replace(f"case/{FLIGHTS.on(DAY)}/{file}", b"other bytes")
    lake.publish(FLIGHTS.on(DAY), {"rows.parquet": TABLE}, force=True)
    assert lake.read(FLIGHTS.on(DAY)).equals(TABLE)


def test_a_file_that_is_gone_is_named(lake: Lake) -> None:
    lake.publish(FLIGHTS.on(DAY), {"rows.parquet": TABLE})
    lake.store.delete(f"case/{FLIGHTS.on(DAY)}/{lake.require(FLIGHTS.on(DAY)).files[0].name}")
    with pytest.raises(LakeError, match=r"rows-\w+.parquet is gone; publish it again with --force"):
        lake.read(FLIGHTS.on(DAY))


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b'{"partition": "x"}'])
def test_a_damaged_manifest_is_refused_in_one_line(lake: Lake, content: bytes) -> None:
    lake.store.replace(f"case/{FLIGHTS.on(DAY)}/{MANIFEST}", content)
    with pytest.raises(LakeError, match="manifest of raw/flights/data_day=2013-10-01 is damaged"):
        lake.manifest(FLIGHTS.on(DAY))


def test_days_and_gaps_are_found(lake: Lake) -> None:
    for day in (date(2013, 10, 3), date(2013, 9, 30)):
        lake.publish(FLIGHTS.on(day), {"rows.parquet": TABLE})
    assert lake.days(FLIGHTS) == [date(2013, 9, 30), date(2013, 10, 3)]
    assert lake.missing(FLIGHTS, date(2013, 9, 29), date(2013, 10, 3)) == [
        date(2013, 9, 29),
        date(2013, 10, 1),
        date(2013, 10, 2),
    ]
    assert list(lake.manifests(FLIGHTS, days_between(date(2013, 9, 29), date(2013, 10, 4)))) == lake.days(FLIGHTS)
    assert lake.read_days(FLIGHTS, lake.days(FLIGHTS)).num_rows == 6
    assert len(lake.uris(FLIGHTS, lake.days(FLIGHTS))) == 2


def test_two_use_cases_share_a_lake_and_see_only_their_own(lake: Lake) -> None:
    other = Lake(lake.store, "other")
    lake.publish(FLIGHTS.on(DAY), {"rows.parquet": TABLE})
    assert other.days(FLIGHTS) == []


cells = st.one_of(st.none(), st.integers(-(2**40), 2**40))
rows = st.lists(st.tuples(cells, st.one_of(st.none(), st.text(max_size=5))), max_size=20)


@given(rows)
@settings(max_examples=40, deadline=None)
def test_any_table_comes_back_and_its_manifest_tells_its_rows_and_hash(given_rows: list[tuple[Any, Any]]) -> None:
    table = pa.table(
        {
            "n": pa.array([number for number, _ in given_rows], pa.int64()),
            "t": pa.array([text for _, text in given_rows], pa.string()),
        }
    )
    with tempfile.TemporaryDirectory() as folder:
        lake = Lake(open_store(folder), "case")
        manifest = lake.publish(FLIGHTS.on(DAY), {"rows.parquet": table})
        assert lake.read(FLIGHTS.on(DAY)).equals(table)
        assert manifest.rows == table.num_rows
        assert Manifest.from_json(manifest.to_json()) == manifest
        assert json.loads(manifest.to_json())["sha256"] == manifest.sha256


def publish_in_a_process(folder: str, number: int, start: Any, answers: Any) -> None:
    """Publish a table of one's own when all are ready, and say what the lake answered."""
    lake = Lake(open_store(folder), "case")
    start.wait()
    for day in days_between(date(2013, 1, 1), date(2013, 1, 20)):
        manifest = lake.publish(FLIGHTS.on(day), {"rows.parquet": pa.table({"by": [number] * 1000})})
        answers.put((day, manifest.sha256))


def in_processes(work: Callable[..., None], count: int, *arguments: Any) -> list[Any]:
    """What `count` real processes said that did the same work at once."""
    spawn = multiprocessing.get_context("fork")
    start, answers = spawn.Barrier(count), spawn.Queue()
    processes = [spawn.Process(target=work, args=(*arguments, number, start, answers)) for number in range(count)]
    for process in processes:
        process.start()
    said = [answers.get(timeout=PATIENCE) for _ in range(count * 20)]
    for process in processes:
        process.join()
    return said


@pytest.mark.stack
def test_processes_that_publish_one_partition_at_once_agree_on_one_winner(tmp_path: Path) -> None:
    # When four processes publish different rows under the same twenty dates
    said = in_processes(publish_in_a_process, 4, str(tmp_path))
    # Then each date has one winner, whole, and everyone was told the same
    lake = Lake(open_store(str(tmp_path)), "case")
    for day in days_between(date(2013, 1, 1), date(2013, 1, 20)):
        assert {answer for each, answer in said if each == day} == {lake.require(FLIGHTS.on(day)).sha256}
        assert len(set(lake.read(FLIGHTS.on(day))["by"].to_pylist())) == 1


@pytest.mark.parametrize("instead", ["nothing", "an empty folder"])
def test_a_lake_that_is_away_is_a_fault_and_is_not_made_again_in_its_place(tmp_path: Path, instead: str) -> None:
    # Given a lake in a folder that may be away, as a mount may be
    lake = Lake(open_store(str(tmp_path / "lake")), "sales")
    lake.publish(FLIGHTS.on(DAY), {"rows.parquet": TABLE})
    aside = (tmp_path / "lake").rename(tmp_path / "aside")
    if instead == "an empty folder":
        (tmp_path / "lake").mkdir()
    # When it is away, then nothing is unpublished, and nothing is written where it was
    for act in (
        lambda: lake.manifest(FLIGHTS.on(DAY)),
        lambda: lake.days(FLIGHTS),
        lambda: lake.publish(FLIGHTS.on(DAY + timedelta(days=1)), {"rows.parquet": TABLE}),
        lambda: lake.get("runs/a.json"),
        lambda: lake.put("runs/a.json", b"{}"),
    ):
        with pytest.raises(LakeError, match=r"lake was there and is (gone|empty now); bring its mount back"):
            act()
    assert list(tmp_path.glob("lake/*")) == []
    # And after its return all is as it was
    if instead == "an empty folder":
        (tmp_path / "lake").rmdir()
    aside.rename(tmp_path / "lake")
    assert lake.days(FLIGHTS) == [DAY]
