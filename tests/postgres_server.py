"""A real PostgreSQL that tests may crash: killed with SIGKILL as a power cut would, started again in a moment."""

from __future__ import annotations

import os
import signal
import socket
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psycopg

from include.database.migrate import upgrade
from include.errors import FaultError
from local.postgres import Postgres
from local.processes import Processes
from local.roles import TABLES
from tests.waiting import PATIENCE

TEMPLATE = "nightshift"
QUICK = "fsync = off\nshared_buffers = 32MB\nmax_wal_size = 256MB\n"
"""The kernel keeps what a killed process wrote, so nothing is lost without fsync; a power cut is another matter."""


def free_port() -> int:
    """A port nobody listens on now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class PostgresServer:
    """One server in a folder of its own; every test takes a migrated database of its own."""

    def __init__(self, folder: Path) -> None:
        self.postgres = Postgres(
            folder / "data", free_port(), folder / "password", folder / "postgres.log", Processes(folder / "processes")
        )

    def start(self) -> None:
        """Start it, or start it again after a crash: it recovers by itself."""
        deadline = time.monotonic() + PATIENCE
        while True:
            try:
                self.postgres.start()
            except FaultError:  # a child of the killed server may hold its memory a moment longer
                if time.monotonic() > deadline:
                    raise
                time.sleep(0.1)
            else:
                return

    def prepare(self) -> None:
        """Make the cluster, quick settings and the migrated template."""
        self.start()
        self.stop()
        with (self.postgres.data / "postgresql.conf").open("a") as settings:
            settings.write(QUICK)
        self.start()
        upgrade(self.postgres.url(TEMPLATE))

    def database(self) -> str:
        """A new database with all tables, by its address."""
        name = f"test_{uuid.uuid4().hex[:12]}"
        with psycopg.connect(self.postgres.url("postgres"), autocommit=True) as session:
            session.execute(f"CREATE DATABASE {name} TEMPLATE {TEMPLATE} OWNER {TABLES}")
        return self.postgres.url(name)

    def crash(self) -> None:
        """Kill the server and all its children at once, with SIGKILL."""
        process = self.postgres.processes.running("postgres")
        assert process is not None, "the server is not running"
        os.kill(process.pid, signal.SIGSTOP)  # it must not start new children meanwhile
        for pid in [*children(process.pid), process.pid]:
            os.kill(pid, signal.SIGKILL)
        while process.alive:
            time.sleep(0.01)

    def restart(self) -> None:
        """Crash and come back."""
        self.crash()
        self.start()

    @contextmanager
    def full_disk(self, url: str, table: str) -> Iterator[None]:
        """Put an empty table's file on a device that is always full: the kernel answers every write with ENOSPC."""
        with psycopg.connect(url, autocommit=True) as session:
            row = session.execute("SELECT pg_relation_filepath(%s)", [table]).fetchone()
        assert row is not None
        file = self.postgres.data / str(row[0])
        assert file.stat().st_size == 0, f"{table} is not empty"
        aside = file.rename(file.with_name(f"{file.name}.aside"))
        file.symlink_to("/dev/full")
        try:
            yield
        finally:
            file.unlink()
            aside.rename(file)

    def stop(self) -> None:
        """Shut down as an operator would."""
        self.postgres.processes.stop("postgres")


def children(parent: int) -> list[int]:
    """The processes that a process has started."""
    found = []
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = stat.read_text().rpartition(")")[2].split()
        except OSError:
            continue
        if int(fields[1]) == parent:
            found.append(int(stat.parent.name))
    return found
