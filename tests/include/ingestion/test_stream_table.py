from __future__ import annotations

import threading
from dataclasses import replace
from datetime import timedelta
from typing import Any

import psycopg
import pytest

from include.errors import DataError, SettingsError
from include.ingestion.stream_table import StreamTable
from include.ingestion.streams import Stream
from include.quality.contract import Column, Kind
from include.use_cases.flight_delay.streams import STREAMS

COLUMNS = (
    Column("kiosk", Kind.TEXT),
    Column("day", Kind.DATE),
    Column("closed_at", Kind.INSTANT),
    Column("sold", Kind.INTEGER, minimum=0),
    Column("spilt", Kind.NUMBER, required=False),
    Column("sold_out", Kind.FLAG),
)
TILL = Stream(
    name="till",
    title="What a till says",
    table="till_rolls",
    key="kiosk",
    natural_key=("kiosk", "day"),
    day="day",
    anchor="closed_at",
    tolerance=timedelta(days=1),
    versions={1: COLUMNS},
)
NEWER = replace(TILL, versions={1: COLUMNS, 2: (*COLUMNS, Column("weekday", Kind.TEXT, required=False))})


def columns(session: psycopg.Connection, table: str) -> dict[str, tuple[str, str]]:
    rows = session.execute(
        "SELECT column_name, data_type, is_nullable FROM information_schema.columns WHERE table_name = %s", [table]
    )
    return {name: (kind, nullable) for name, kind, nullable in rows.fetchall()}


@pytest.mark.stack
def test_a_table_is_made_from_the_columns_of_its_stream_and_later_ones_are_added(database: str) -> None:
    with psycopg.connect(database, autocommit=True) as session:
        StreamTable(TILL).prepare(session)
        made = {
            "kiosk": ("text", "NO"),
            "day": ("date", "NO"),
            "closed_at": ("timestamp with time zone", "NO"),
            "sold": ("bigint", "NO"),
            "spilt": ("double precision", "YES"),
            "sold_out": ("boolean", "NO"),
            "event_time": ("timestamp with time zone", "NO"),
        }
        assert columns(session, "till_rolls") == made
        # When a version of its schema adds a column, Then the table has it; and a worker of the older one goes on
        StreamTable(NEWER).prepare(session)
        assert columns(session, "till_rolls") == {**made, "weekday": ("text", "YES")}
        StreamTable(TILL).prepare(session)


@pytest.mark.stack
def test_two_workers_that_make_one_table_wait_for_one_another(database: str) -> None:
    trouble: list[Exception] = []

    def prepare() -> None:
        try:
            with psycopg.connect(database, autocommit=True) as session:
                StreamTable(TILL).prepare(session)
        except Exception as error:
            trouble.append(error)

    threads = [threading.Thread(target=prepare) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert trouble == []


@pytest.mark.stack
def test_tables_that_an_older_release_made_are_kept_as_they_are(database: str) -> None:
    with psycopg.connect(database, autocommit=True) as session:
        before = [columns(session, stream.table) for stream in STREAMS.values()]
        for stream in STREAMS.values():
            StreamTable(stream).prepare(session)
        assert [columns(session, stream.table) for stream in STREAMS.values()] == before
        assert all(before)


@pytest.mark.stack
@pytest.mark.parametrize(
    ("change", "fault"),
    [
        ("ALTER COLUMN sold TYPE text", "column sold is text, and topic till declares integer"),
        ("ALTER COLUMN spilt SET NOT NULL", "column spilt takes no null, and topic till may leave it empty"),
        ("DROP COLUMN sold_out", "column sold_out of topic till is not there"),
        ("ADD COLUMN paid text NOT NULL", "topic till has no column paid, which takes no null"),
        ("DROP CONSTRAINT till_rolls_pkey", "it is not cut by day, or its key is not kiosk, day"),
    ],
)
def test_a_table_that_cannot_hold_the_rows_is_refused_in_one_line(database: str, change: str, fault: str) -> None:
    with psycopg.connect(database, autocommit=True) as session:
        StreamTable(TILL).prepare(session)
        session.execute(f"ALTER TABLE till_rolls {change}")
        with pytest.raises(SettingsError) as refused:
            StreamTable(TILL).prepare(session)
    assert str(refused.value) == f"table till_rolls: {fault}; name another table in streams.py, or rename this one"


@pytest.mark.stack
def test_a_table_of_the_platforms_own_is_refused(database: str) -> None:
    taken = StreamTable(replace(TILL, table="dead_letters"))
    with psycopg.connect(database, autocommit=True) as session, pytest.raises(SettingsError, match="dead_letters: "):
        taken.prepare(session)


@pytest.mark.stack
def test_a_table_belongs_to_the_use_case_whose_worker_came_first(database: str) -> None:
    with psycopg.connect(database, autocommit=True) as session:
        StreamTable(TILL, "kiosks").prepare(session)
        StreamTable(TILL, "kiosks").prepare(session)
        with pytest.raises(SettingsError) as refused:
            StreamTable(TILL, "markets").prepare(session)
    assert str(refused.value) == (
        "table till_rolls: rows of use case kiosks, so markets must not write to it; name another table in streams.py"
    )


@pytest.mark.stack
def test_a_table_that_an_older_release_made_is_its_first_workers(database: str) -> None:
    flights = STREAMS["a2"]
    with psycopg.connect(database, autocommit=True) as session:
        StreamTable(flights, "flight_delay").prepare(session)
        with pytest.raises(SettingsError, match="table flights: rows of use case flight_delay, so others must not"):
            StreamTable(flights, "others").prepare(session)


@pytest.mark.stack
def test_a_comment_that_a_person_wrote_stays(database: str) -> None:
    with psycopg.connect(database, autocommit=True) as session:
        StreamTable(TILL).prepare(session)
        session.execute("COMMENT ON TABLE till_rolls IS 'asked for by the office'")
        StreamTable(TILL, "kiosks").prepare(session)
        row = session.execute("SELECT obj_description('till_rolls'::regclass)").fetchone()
    assert row == ("asked for by the office",)


@pytest.mark.stack
def test_a_role_that_does_not_own_the_table_goes_on_without_a_mark(database_url: str) -> None:
    with psycopg.connect(database_url, autocommit=True) as session:
        StreamTable(TILL).prepare(session)
        session.execute("CREATE ROLE clerk")
        session.execute("SET ROLE clerk")
        StreamTable(TILL, "kiosks").prepare(session)
        session.execute("RESET ROLE")
        session.execute("DROP ROLE clerk")
        assert session.execute("SELECT obj_description('till_rolls'::regclass)").fetchone() == (None,)


@pytest.mark.stack
def test_a_role_that_may_not_make_tables_is_told_so(database: str) -> None:
    with psycopg.connect(database, autocommit=True) as session:
        session.execute("REVOKE CREATE ON SCHEMA public FROM pg_database_owner")
        with pytest.raises(SettingsError, match=r"^table till_rolls: permission denied .*; let the role of"):
            StreamTable(TILL).prepare(session)


@pytest.mark.parametrize(
    ("about", "fault"),
    [
        ({"natural_key": ("kiosk",)}, "natural_key lacks day, which cuts its table; add it"),
        ({"table": "Till Rolls"}, "table 'Till Rolls' is no name of"),
        ({"table": "t" * 51}, "is no name of"),
    ],
)
def test_a_stream_whose_table_cannot_be_made_is_refused(about: dict[str, Any], fault: str) -> None:
    with pytest.raises(DataError, match=fault):
        replace(TILL, **about)
