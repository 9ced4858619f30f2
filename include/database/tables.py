"""The tables in PostgreSQL. `python -m include.database.migrate upgrade` makes them."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager

from psycopg.errors import InsufficientPrivilege, UndefinedColumn, UndefinedTable
from sqlalchemy import NullPool, create_engine
from sqlalchemy.engine import Engine
from sqlalchemy.exc import DBAPIError, OperationalError, ProgrammingError
from sqlalchemy.orm import DeclarativeBase, Session

from include.database.address import sqlalchemy_url
from include.errors import CodeError, FaultError, SettingsError
from include.excerpt import first_line
from include.settings import Settings

ATTEMPTS = 4
PAUSE_SECONDS = 0.5
CONNECT_SECONDS = 5
LOCK_SECONDS = 60


class Base(DeclarativeBase):
    """The tables' metadata."""


class Tables:
    """Access to the tables: one short session at a time, and one clear line when PostgreSQL does not answer."""

    def __init__(self, engine: Engine) -> None:
        self.engine = engine
        self.address = engine.url.render_as_string(hide_password=True)

    @classmethod
    def open(cls, settings: Settings) -> Tables:
        """The deployment's tables; `FaultError` when PostgreSQL does not answer after `ATTEMPTS` tries."""
        url = sqlalchemy_url(settings.require("database_url"))
        tables = cls(create_engine(url, poolclass=NullPool, connect_args={"connect_timeout": CONNECT_SECONDS}))
        tables.wait()
        return tables

    def wait(self) -> None:
        """Return when PostgreSQL answers."""
        for attempt in range(1, ATTEMPTS + 1):
            try:
                self.engine.connect().close()
            except OperationalError as error:
                if attempt == ATTEMPTS:
                    raise FaultError(
                        f"PostgreSQL at {self.address} does not answer ({ATTEMPTS} tries): "
                        f"{first_line(error.orig or error)}; start it (`make up`) or correct NIGHTSHIFT_DATABASE_URL"
                    ) from error
                time.sleep(PAUSE_SECONDS * 2 ** (attempt - 1))
            else:
                return

    @contextmanager
    def session(self) -> Iterator[Session]:
        """One transaction; what it read stays readable after it."""
        with self._reported(), Session(self.engine, expire_on_commit=False) as session, session.begin():
            yield session

    @contextmanager
    def _reported(self) -> Iterator[None]:
        try:
            yield
        except ProgrammingError as error:
            said = f"PostgreSQL at {self.address}: {first_line(error.orig or error)}"
            if isinstance(error.orig, UndefinedTable | UndefinedColumn):
                raise FaultError(
                    f"{said}; bring its tables up to date: python -m include.database.migrate upgrade"
                ) from error
            if isinstance(error.orig, InsufficientPrivilege):
                raise SettingsError(f"{said}; give the role of NIGHTSHIFT_DATABASE_URL this right") from error
            raise CodeError(said) from error
        except DBAPIError as error:
            raise FaultError(
                f"PostgreSQL at {self.address}: {first_line(error.orig or error)}; is it up (`make up`)?"
            ) from error
