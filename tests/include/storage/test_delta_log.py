"""Other engines see exactly what is published: by the Delta log at every moment, by a plain glob after the vacuum."""

from __future__ import annotations

import multiprocessing
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.dataset as ds
import pytest

from include.errors import DataError, LakeError
from include.quality.kind import Kind
from include.settings import Settings
from include.step import Context
from include.storage.delta_log import DeltaLog, follow
from include.storage.lake import Dataset, Lake, Layer
from include.storage.query import query
from include.storage.store import open_store
from include.use_case import load_use_case
from stores.folder import FileStore
from tests.use_case_copy import ICE_CREAM

SALES = Dataset(Layer.RAW, "sales")
DAY = date(2026, 6, 15)
NEXT = DAY + timedelta(days=1)
WEEK = timedelta(days=7)
AT_ONCE = timedelta(0)
Rows = list[tuple[date, Any]]


def sales(*amounts: int) -> pa.Table:
    return pa.table({"date": [DAY] * len(amounts), "amount": pa.array(amounts, pa.int64())})


class Tables:
    """A lake whose tables are followed, as a step's process does it."""

    def __init__(self, uri: str, endpoint: str | None = None) -> None:
        self.uri, self.endpoint = uri, endpoint
        self.lake = Lake(open_store(uri, s3_endpoint=endpoint), "case")

    def publish(self, day: date, table: pa.Table, *, dataset: Dataset = SALES, force: bool = False) -> None:
        self.lake.publish(dataset.on(day), {"rows.parquet": table}, force=force)

    def follow(self, grace: timedelta = WEEK) -> None:
        follow(self.lake, grace=grace, s3_endpoint=self.endpoint)

    @property
    def log(self) -> DeltaLog:
        return DeltaLog(self.lake, "raw/sales", s3_endpoint=self.endpoint)

    @property
    def version(self) -> int:
        table = self.log.open()
        assert table is not None
        return table.version()

    def ask(self, sql: str) -> pa.Table:
        settings = Settings(lake=self.uri, s3_endpoint=self.endpoint)
        return query(Context(settings, load_use_case(ICE_CREAM), self.lake), sql)

    def by_delta(self) -> Rows:
        table = self.log.open()
        return rows(table.to_pyarrow_table()) if table else []

    def published(self) -> Rows:
        """What the manifests say."""
        read = {day: self.lake.read(SALES.on(day))["amount"].to_pylist() for day in self.lake.days(SALES)}
        return [(day, amount) for day, amounts in read.items() for amount in sorted(amounts)]


def rows(table: pa.Table) -> Rows:
    return sorted(zip(table["data_day"].to_pylist(), table["amount"].to_pylist(), strict=True))


@pytest.fixture(params=["folder", "s3"])
def tables(request: pytest.FixtureRequest, tmp_path: Path) -> Tables:
    """An empty lake of each kind."""
    if request.param == "folder":
        return Tables(str(tmp_path / "a lake"))
    return Tables(f"s3://{request.getfixturevalue('bucket')}/a/lake", request.getfixturevalue("s3_endpoint"))


@pytest.fixture
def folder(tmp_path: Path) -> Tables:
    return Tables(str(tmp_path / "lake"))


def glob(lake: Tables) -> Path:
    """What a person names who knows of no log."""
    assert isinstance(lake.lake.store, FileStore)
    return lake.lake.store.root / "case" / "raw" / "sales"


def test_a_table_has_the_published_rows_and_their_day(tables: Tables) -> None:
    tables.publish(DAY, sales(1, 2))
    tables.publish(NEXT, sales(3))
    tables.follow()
    assert tables.by_delta() == [(DAY, 1), (DAY, 2), (NEXT, 3)]


def test_a_forced_day_is_exact_before_it_while_it_runs_and_after(tables: Tables) -> None:
    tables.publish(DAY, sales(1, 2))
    tables.publish(NEXT, sales(3))
    tables.follow()

    # When a day is published again, and its step has not ended yet
    tables.publish(DAY, sales(4), force=True)

    # Then a table has the day's old rows, and with the step's end its new ones: never both
    assert tables.by_delta() == [(DAY, 1), (DAY, 2), (NEXT, 3)]
    tables.follow()
    assert tables.by_delta() == [(DAY, 4), (NEXT, 3)]


@pytest.mark.parametrize("kind", ["pandas", "pyarrow"])
def test_a_plain_read_is_exact_once_what_a_forced_day_replaced_is_vacuumed(folder: Tables, kind: str) -> None:
    def plain() -> Rows:
        if kind == "pyarrow":
            return rows(ds.dataset(glob(folder), partitioning=by_day).to_table())
        read = pd.read_parquet(glob(folder))
        return sorted(
            (date.fromisoformat(str(day)), int(amount))
            for day, amount in zip(read["data_day"], read["amount"], strict=True)
        )

    by_day = ds.partitioning(pa.schema([("data_day", pa.date32())]), flavor="hive")
    folder.publish(DAY, sales(1, 2))
    folder.follow()
    assert plain() == [(DAY, 1), (DAY, 2)]

    folder.publish(DAY, sales(4), force=True)
    folder.follow(WEEK)
    assert plain() == [(DAY, 1), (DAY, 2), (DAY, 4)]

    folder.publish(NEXT, sales(3))
    folder.follow(AT_ONCE)
    assert plain() == folder.by_delta() == [(DAY, 4), (NEXT, 3)]


def test_nothing_is_committed_where_nothing_is_new(tables: Tables) -> None:
    tables.publish(DAY, sales(1, 2))
    tables.follow()
    before = tables.version

    # When the step is run again, and then forced, which gives the same bytes
    tables.publish(DAY, sales(1, 2))
    tables.follow()
    tables.publish(DAY, sales(1, 2), force=True)
    tables.follow(AT_ONCE)

    assert tables.version == before
    assert tables.by_delta() == [(DAY, 1), (DAY, 2)]


def test_a_day_that_is_forced_back_to_its_old_bytes_before_the_vacuum_keeps_them(tables: Tables) -> None:
    for amounts in ((1, 2), (4,), (1, 2)):
        tables.publish(DAY, sales(*amounts), force=True)
        tables.follow()
    tables.publish(NEXT, sales(3))
    tables.follow(AT_ONCE)

    assert tables.by_delta() == tables.published() == [(DAY, 1), (DAY, 2), (NEXT, 3)]


def test_a_step_commits_once_however_many_days_it_publishes(tables: Tables) -> None:
    tables.publish(DAY, sales(1))
    tables.follow()
    before = tables.version

    for number in range(1, 8):
        tables.publish(DAY + timedelta(days=number), sales(number))
    tables.publish(DAY, sales(5), force=True)
    tables.follow()

    assert tables.version == before + 1
    assert tables.by_delta() == tables.published()


KILLED = """
import os, signal, sys
from tests.include.storage.test_delta_log import DAY, NEXT, Tables, sales
tables = Tables(sys.argv[1])
tables.publish(DAY, sales(4), force=True)
tables.publish(NEXT, sales(3))
os.kill(os.getpid(), signal.SIGKILL)
"""


@pytest.mark.stack
def test_the_next_publication_heals_what_a_process_killed_before_its_commit_left(folder: Tables) -> None:
    # Given a table, and a process that is killed between its manifests and its commit
    folder.publish(DAY, sales(1, 2))
    folder.follow()
    assert isinstance(folder.lake.store, FileStore)
    killed = subprocess.run([sys.executable, "-c", KILLED, str(folder.lake.store.root)], check=False, env=os.environ)
    assert killed.returncode == -signal.SIGKILL
    assert folder.by_delta() == [(DAY, 1), (DAY, 2)] != folder.published()

    # When another process publishes any other day
    later = Tables(str(folder.lake.store.root))
    later.publish(NEXT + timedelta(days=1), sales(7))
    later.follow()

    # Then the table is what the manifests say
    assert folder.by_delta() == folder.published() == [(DAY, 4), (NEXT, 3), (NEXT + timedelta(days=1), 7)]


DIES = """
import os, signal, sys
import include.storage.delta_log
include.storage.delta_log.follow = lambda *_, **__: os.kill(os.getpid(), signal.SIGKILL)
from include.step import main
from include.steps.extract import ExtractArguments, extract
main(ExtractArguments, extract)
"""


@pytest.mark.stack
def test_the_retry_of_a_step_killed_before_its_commit_heals_what_it_left(tmp_path: Path) -> None:
    # Given a step that has published its history, and is killed before its commit
    environment = {**os.environ, "NIGHTSHIFT_LAKE": str(tmp_path / "lake")}
    argv = [f"--use-case={ICE_CREAM}", "--date=2026-05-10"]
    killed = subprocess.run([sys.executable, "-c", DIES, *argv], check=False, env=environment)
    lake = Lake(FileStore(tmp_path / "lake"), "ice_cream")
    assert killed.returncode == -signal.SIGKILL
    assert lake.days(SALES) and DeltaLog(lake, "raw/sales").open() is None

    # When it is tried again, and finds everything published
    subprocess.run([sys.executable, "-m", "include.steps.extract", *argv], check=True, env=environment)

    # Then its tables are what the manifests say
    table = DeltaLog(lake, "raw/sales").open()
    assert table is not None
    assert sorted(set(table.to_pyarrow_table()["data_day"].to_pylist())) == lake.days(SALES)


def test_a_day_that_is_withdrawn_leaves_the_table(tables: Tables) -> None:
    for day in (DAY, NEXT):
        tables.publish(day, sales(1))
    tables.follow()
    tables.lake.store.clear(f"case/{SALES.on(DAY)}")

    tables.publish(NEXT + timedelta(days=1), sales(2))
    tables.follow()

    assert tables.by_delta() == tables.published() == [(NEXT, 1), (NEXT + timedelta(days=1), 2)]


def test_a_column_that_is_new_is_null_on_older_days(tables: Tables) -> None:
    tables.publish(DAY, sales(1))
    tables.follow()
    tables.publish(NEXT, sales(2).append_column("note", pa.array(["new"])))
    tables.follow()

    answered = tables.ask("SELECT amount, note FROM raw.sales ORDER BY amount")
    assert answered.to_pylist() == [{"amount": 1, "note": None}, {"amount": 2, "note": "new"}]


def test_a_type_that_differs_from_the_tables_is_refused_until_every_day_has_it(tables: Tables) -> None:
    other = sales(2).set_column(1, "amount", pa.array(["two"]))
    for day in (DAY, NEXT):
        tables.publish(day, sales(1))
    tables.follow()

    tables.publish(NEXT, other, force=True)
    with pytest.raises(
        DataError, match=r"raw/sales: .*amount.* int64 vs string; publish its other days again with --f"
    ):
        tables.follow()
    assert tables.by_delta() == [(DAY, 1), (NEXT, 1)]

    tables.publish(DAY, other, force=True)
    tables.follow()
    assert tables.by_delta() == [(DAY, "two"), (NEXT, "two")]


def test_the_moments_of_a_horizon_are_one_table(tables: Tables) -> None:
    for moment in ("20260615T1035Z", "20260615T1105Z"):
        dataset = Dataset(Layer.PREDICTIONS, f"intraday/two_hours/moment={moment}")
        tables.publish(DAY, sales(1), dataset=dataset)
    tables.follow()

    sql = 'SELECT moment, data_day, amount FROM predictions."intraday/two_hours" ORDER BY moment'
    assert tables.ask(sql).to_pylist() == [
        {"moment": moment, "data_day": DAY, "amount": 1} for moment in ("20260615T1035Z", "20260615T1105Z")
    ]


def test_a_column_named_as_a_folder_is_refused(folder: Tables) -> None:
    folder.publish(
        DAY, sales(1).rename_columns(["moment", "amount"]), dataset=Dataset(Layer.PREDICTIONS, "intraday/x/moment=1")
    )
    with pytest.raises(
        DataError,
        match="predictions/intraday/x: column moment comes twice, in another case or as the name of its folders",
    ):
        folder.follow()


def test_any_column_of_a_contract_can_be_read_by_the_oldest_readers(folder: Tables) -> None:
    folder.publish(DAY, pa.schema([(kind.value, kind.arrow) for kind in Kind]).empty_table())
    folder.follow()
    table = folder.log.open()
    assert table is not None
    assert (table.protocol().min_reader_version, table.protocol().min_writer_version) == (1, 2)


def publish_and_follow(root: str, number: int, days: list[date]) -> None:
    """Publish a row of one's own on each of the days, over those of others, one commit a day."""
    for day in days:
        tables = Tables(root)
        tables.publish(day, sales(number), force=True)
        tables.follow()


@pytest.mark.stack
@pytest.mark.parametrize("shared", [True, False])
def test_runs_that_race_leave_a_table_that_is_what_is_published(folder: Tables, shared: bool) -> None:
    # When three processes publish at once, the same days or each its own
    assert isinstance(folder.lake.store, FileStore)
    root = str(folder.lake.store.root)
    days = [[DAY + timedelta(days=(0 if shared else 10 * each) + offset) for offset in range(5)] for each in range(3)]
    in_processes(publish_and_follow, [(root, number, each) for number, each in enumerate(days)])

    # Then each day has the rows of its manifest, once
    assert folder.by_delta() == folder.published()
    assert len(folder.published()) == (5 if shared else 15)


def in_processes(work: Callable[..., None], arguments: list[tuple[Any, ...]]) -> None:
    spawn = multiprocessing.get_context("spawn")
    processes = [spawn.Process(target=work, args=each) for each in arguments]
    for process in processes:
        process.start()
    for process in processes:
        process.join(120)
    assert [process.exitcode for process in processes] == [0] * len(processes)


def test_a_commit_that_another_runs_overtook_is_made_again_from_what_is_published_now(
    tables: Tables, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Given two runs that have published
    tables.publish(DAY, sales(1))
    tables.follow()
    before, rival = tables.version, Tables(tables.uri, tables.endpoint)
    rival.publish(DAY, sales(2), force=True)
    tables.publish(NEXT, sales(3))

    # When one has compared the manifests with the log, and the other publishes once more and commits before it
    compare = DeltaLog._change

    def overtaken(log: DeltaLog, table: Any) -> Any:
        change = compare(log, table)
        monkeypatch.setattr(DeltaLog, "_change", compare)
        rival.publish(DAY, sales(4), force=True)
        rival.follow()
        return change

    monkeypatch.setattr(DeltaLog, "_change", overtaken)
    tables.follow()

    # Then nothing of the older comparison is committed
    assert tables.by_delta() == tables.published() == [(DAY, 4), (NEXT, 3)]
    assert tables.version == before + 1


def test_a_log_that_cannot_be_written_is_a_fault_in_one_line(folder: Tables, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("include.storage.delta_log.PAUSE_SECONDS", 0)
    folder.publish(DAY, sales(1))
    (glob(folder) / "_delta_log").write_text("no folder")
    with pytest.raises(LakeError, match=r"lake: raw/sales: cannot write file:.*/_delta_log: ") as refused:
        folder.follow()
    assert not set("\n\x1b") & set(str(refused.value))


def test_only_the_tables_that_a_statement_names_are_opened(folder: Tables) -> None:
    folder.publish(DAY, sales(1, 2))
    folder.follow()
    assert folder.ask("WITH big AS (FROM raw.sales WHERE amount > 1) SELECT count(*) AS n FROM big").to_pylist() == [
        {"n": 1}
    ]


@pytest.mark.parametrize(
    ("sql", "message"),
    [
        ("SELECT * FROM raw.sale", r"raw.sale is none of raw.sales; did you mean raw.sales\?"),
        ("SELEC 1", "query: Parser Error: syntax error at or near"),
        ("SELECT price FROM raw.sales", 'query: Binder Error: .*"price" not found'),
        ("SELECT * FROM sales", "query: Catalog Error: Table with name sales does not exist"),
    ],
)
def test_a_statement_that_cannot_be_answered_is_one_line(folder: Tables, sql: str, message: str) -> None:
    folder.publish(DAY, sales(1))
    folder.follow()
    with pytest.raises(DataError, match=message) as refused:
        folder.ask(sql)
    assert "\n" not in str(refused.value)


IMPORTED = "import include.steps.extract, include.steps.score, spark_jobs.features, sys; print(*sys.modules)"


@pytest.mark.stack
def test_a_step_that_has_published_nothing_has_not_loaded_deltas_library() -> None:
    done = subprocess.run([sys.executable, "-c", IMPORTED], check=True, capture_output=True, text=True)
    assert not {"deltalake", "duckdb"} & set(done.stdout.split())
