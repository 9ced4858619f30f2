"""The embedded PostgreSQL: one server of this checkout, on TCP, with a role and a random password for each database."""

from __future__ import annotations

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

from include.errors import FaultError, SettingsError
from local.ports import require_free
from local.processes import Process, Processes, last_line
from local.programs import Programs
from local.roles import OWNERS, SUPERUSER, TABLES, divide
from local.stack import keep_secret

CRASH_SECONDS = 20
# PostgreSQL refuses to run as root; started by root, it runs as the user that owns nothing.
UNPRIVILEGED = "nobody"
# Its own working directory, by a link that needs no right to the folders above: only their owner may pass through them.
HERE = "/proc/self/cwd"


@dataclass(frozen=True)
class Postgres:
    """A PostgreSQL cluster in a folder, listening on 127.0.0.1 only, no Unix socket (its path would be too long)."""

    data: Path
    port: int
    password_file: Path
    log: Path
    processes: Processes

    def password(self, role: str) -> str:
        """The password of a role; made on first use."""
        own = self.password_file if role == SUPERUSER else self.password_file.with_name(f"postgres-{role}-password")
        return keep_secret(own)

    def url(self, database: str, driver: str = "") -> str:
        """The address of a database as its owner, for SQLAlchemy with a driver, or for libpq without.

        `postgres` is the superuser's, which only the launcher uses; every other one belongs to a role without rights.
        """
        role = SUPERUSER if database == "postgres" else OWNERS.get(database, TABLES)
        scheme = f"postgresql+{driver}" if driver else "postgresql"
        return f"{scheme}://{role}:{quote(self.password(role))}@127.0.0.1:{self.port}/{database}"

    @property
    def _programs(self) -> Programs:
        return Programs(self.data.with_name("postgres-programs"))

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
            self._divide()
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
        self._divide()
        return process

    def _launch(self) -> Process:
        options = {
            "listen_addresses": "127.0.0.1",
            "port": str(self.port),
            "unix_socket_directories": "",
            "max_connections": "200",
            "jit": "off",
        }
        argv = [str(self._programs.path("postgres")), "-D", HERE]
        argv += [part for name, value in options.items() for part in ("-c", f"{name}={value}")]
        process = self.processes.start(
            "postgres",
            _as_unprivileged(argv),
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
        if os.geteuid() == 0:
            owner = pwd.getpwnam(UNPRIVILEGED)
            os.chown(part, owner.pw_uid, owner.pw_gid)
        password = os.memfd_create("password")
        os.write(password, self.password(SUPERUSER).encode())
        argv = [str(self._programs.path("initdb")), "-D", HERE, "-U", SUPERUSER, f"--pwfile=/proc/self/fd/{password}"]
        argv += ["--auth=scram-sha-256", "--encoding=UTF8", "--locale=C.UTF-8"]
        self.log.parent.mkdir(parents=True, exist_ok=True)
        with self.log.open("ab") as out:
            done = subprocess.run(
                _as_unprivileged(argv),
                env=_environment(),
                cwd=part,
                pass_fds=[password],
                stdout=out,
                stderr=out,
                check=False,
            )
        os.close(password)
        if done.returncode:
            raise FaultError(f"PostgreSQL could not be set up: {last_line(self.log)} (log: {self.log})")
        part.rename(self.data)

    def _divide(self) -> None:
        divide(self.url("postgres"), {role: self.password(role) for role in OWNERS.values()})


def _environment() -> dict[str, str]:
    return {"PATH": os.environ.get("PATH", os.defpath), "LANG": "C.UTF-8", "TZ": "UTC"}


def _as_unprivileged(argv: list[str]) -> list[str]:
    """The command without any right beyond its user's, and no way to gain one; as `UNPRIVILEGED` when we are root."""
    become = ["--inh-caps=-all", "--no-new-privs"]
    if os.geteuid() == 0:
        owner = pwd.getpwnam(UNPRIVILEGED)
        become += [f"--reuid={owner.pw_uid}", f"--regid={owner.pw_gid}", "--clear-groups"]
    return ["setpriv", *become, "--", *argv]
