"""The embedded PostgreSQL, for real: in a private folder with spaces, stopped and started again."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest

from include.errors import SettingsError
from include.local.postgres import DATABASES, Postgres
from include.local.processes import Processes

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
    assert set(DATABASES) <= names
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
        psycopg.connect(postgres.url("nightshift").replace(postgres.password, "guess"))


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
