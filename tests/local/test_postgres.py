"""The embedded PostgreSQL, for real: in a private folder with spaces, stopped and started again."""

from __future__ import annotations

import os
import shutil
import socket
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest

from include.errors import SettingsError
from local import postgres as module
from local import programs
from local.postgres import Postgres
from local.processes import Processes
from local.roles import OWNERS, SUPERUSER

pytestmark = pytest.mark.stack


@pytest.fixture
def postgres(tmp_path: Path) -> Iterator[Postgres]:
    home = tmp_path / "a path with spaces"
    home.mkdir(mode=0o700)
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    processes = Processes(home / "processes")
    yield Postgres(home / "postgres", port, home / "secrets" / "password", home / "postgres.log", processes)
    processes.stop("postgres")


def test_it_starts_keeps_what_was_written_and_is_gone_when_stopped(postgres: Postgres) -> None:
    process = postgres.start()
    with psycopg.connect(postgres.url("nightshift"), autocommit=True) as session:
        session.execute("CREATE TABLE kept AS SELECT 42 AS answer")
        names = {row[0] for row in session.execute("SELECT datname FROM pg_database").fetchall()}
    assert set(OWNERS) <= names
    # When it is stopped, nobody answers; when it is started again, everything is there
    postgres.processes.stop("postgres")
    assert not process.alive
    assert not postgres.answers()
    postgres.start()
    with psycopg.connect(postgres.url("nightshift")) as session:
        assert session.execute("SELECT answer FROM kept").fetchall() == [(42,)]


def test_a_second_start_finds_the_first(postgres: Postgres) -> None:
    assert postgres.start() == postgres.start()


def test_nobody_gets_in_without_the_password(postgres: Postgres) -> None:
    postgres.start()
    assert postgres.password_file.stat().st_mode & 0o077 == 0
    with pytest.raises(psycopg.OperationalError, match="password"):
        psycopg.connect(postgres.url("nightshift").replace(postgres.password("tables"), "guess"))


def test_each_database_belongs_to_a_role_that_may_nothing_else(postgres: Postgres) -> None:
    postgres.start()
    for database in OWNERS:
        with psycopg.connect(postgres.url(database), autocommit=True) as session:
            session.execute("CREATE TABLE mine AS SELECT 1")
            rights = "SELECT rolsuper, rolcreatedb, rolcreaterole, rolreplication, rolbypassrls FROM pg_roles"
            assert session.execute(f"{rights} WHERE rolname = current_user").fetchall() == [(False,) * 5]
            for forbidden in (
                "COPY mine TO PROGRAM 'cat'",
                "SELECT pg_read_file('PG_VERSION')",
                f"SET ROLE {SUPERUSER}",
            ):
                with pytest.raises(psycopg.errors.InsufficientPrivilege):
                    session.execute(forbidden)
        for other in {*OWNERS, "postgres", "template1"} - {database}:
            with pytest.raises(psycopg.OperationalError, match="permission denied for database"):
                psycopg.connect(postgres.url(database), dbname=other)


def test_the_server_has_no_capability_and_no_way_to_gain_one(postgres: Postgres) -> None:
    """Not even where the folders above its own are closed to the user that it runs as."""
    process = postgres.start()
    assert postgres.data.parent.stat().st_mode & 0o077 == 0
    status = dict(line.split(":\t", 1) for line in Path(f"/proc/{process.pid}/status").read_text().splitlines())
    assert {status[name] for name in ("CapInh", "CapPrm", "CapEff", "CapAmb")} == {"0" * 16}
    assert status["NoNewPrivs"] == "1"
    assert status["Uid"].split()[0] != "0"


@pytest.mark.skipif(os.geteuid() != 0, reason="only root's server runs as another user")
def test_programs_below_a_private_folder_are_copied_to_where_the_server_may_read_them(
    postgres: Postgres, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Given an environment below a private folder, as that of a checkout in /root
    private = postgres.data.with_name("venv")
    for part in (programs.BIN.parent, programs.LIBRARIES):
        shutil.copytree(programs._packages() / part, private / part)
    monkeypatch.setattr(programs, "_packages", lambda: private)
    # When the server is started, then it answers
    postgres.start()
    note = postgres.data.with_name("postgres-programs")
    copy = Path(note.read_text(encoding="utf-8"))
    assert postgres.answers()
    # And when it is stopped, then nothing of it is left outside
    postgres.processes.stop("postgres")
    programs.Programs(note).remove_copy()
    assert not copy.exists()
    assert not note.exists()


def test_a_cluster_of_before_there_were_roles_is_handed_over(
    postgres: Postgres, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Given a cluster in which everything is the superuser's
    with monkeypatch.context() as before:
        before.setattr(module, "divide", lambda *_: None)
        postgres.start()
        with psycopg.connect(postgres.url("postgres"), autocommit=True) as session:
            for name in OWNERS:
                session.execute(f"CREATE DATABASE {name}")
        for name in OWNERS:
            with psycopg.connect(postgres.url("postgres"), dbname=name) as session:
                session.execute("CREATE TYPE mood AS ENUM ('good', 'bad')")
                session.execute("CREATE TABLE kept (id serial, other int GENERATED ALWAYS AS IDENTITY, mood mood)")
                session.execute("CREATE TABLE days (day date) PARTITION BY RANGE (day)")
                session.execute("CREATE TABLE days_old PARTITION OF days DEFAULT")
                session.execute("CREATE SEQUENCE apart")
                session.execute('CREATE VIEW "Seen" AS SELECT * FROM kept')
                session.execute("CREATE FUNCTION one() RETURNS int LANGUAGE sql AS 'SELECT 1'")
                session.execute("CREATE SCHEMA odd")
                session.execute("INSERT INTO kept (mood) VALUES ('good')")
        postgres.processes.stop("postgres")
    # When it is started again
    postgres.start()
    # Then each database's own role can do with it what it likes, and nothing is lost
    for name in OWNERS:
        with psycopg.connect(postgres.url(name)) as session:
            assert session.execute("SELECT id, mood FROM kept").fetchall() == [(1, "good")]
            session.execute("ALTER TABLE kept ADD COLUMN more int")
            session.execute("ALTER TYPE mood ADD VALUE 'so so'")
            session.execute('DROP VIEW "Seen"')
            session.execute("DROP FUNCTION one()")
            session.execute("DROP SEQUENCE apart")
            session.execute("DROP TABLE kept")
            session.execute("DROP TABLE days")
            session.execute("DROP SCHEMA odd")


def test_after_a_crash_it_starts_again(postgres: Postgres) -> None:
    # Given a server whose processes are all killed at once
    import os
    import signal

    process = postgres.start()
    os.killpg(process.pid, signal.SIGKILL)
    postgres.processes.stop("postgres")
    # When it is started again, then it recovers
    assert postgres.start().pid != process.pid
    assert postgres.answers()


def test_a_set_up_that_was_interrupted_is_begun_again(postgres: Postgres) -> None:
    part = postgres.data.with_name("postgres.part")
    part.mkdir()
    (part / "PG_VERSION").write_text("18")
    postgres.start()
    assert postgres.answers()


def test_a_port_in_use_is_refused_before_anything_is_made(postgres: Postgres) -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", postgres.port))
        other.listen()
        with pytest.raises(SettingsError, match="NIGHTSHIFT_POSTGRES_PORT"):
            postgres.start()
    assert not postgres.data.exists()
