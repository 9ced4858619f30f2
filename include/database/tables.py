"""The tables in PostgreSQL: what was served when. `python -m include.database.migrate upgrade` makes them."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import date, datetime
from enum import StrEnum
from typing import Any

from psycopg.errors import InsufficientPrivilege, UndefinedColumn, UndefinedTable
from sqlalchemy import BigInteger, DateTime, Enum, Identity, Index, NullPool, create_engine, text
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.engine import Engine
from sqlalchemy.exc import DBAPIError, OperationalError, ProgrammingError
from sqlalchemy.orm import DeclarativeBase, Mapped, Session, mapped_column

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


class DeploymentReason(StrEnum):
    """Why a version was put into service."""

    NIGHTLY = "nightly"
    ROLLBACK = "rollback"
    RESTORED = "restored"


class DeploymentState(StrEnum):
    """The state of a deployment: at most one of a use case is `serving`."""

    STARTED = "started"
    SERVING = "serving"
    REPLACED = "replaced"
    ROLLED_BACK = "rolled_back"
    FAILED = "failed"
    """It was in service and failed its smoke test."""
    REFUSED = "refused"
    """The server would not load it."""
    INTERRUPTED = "interrupted"
    """Its step was killed before anyone knew."""
    REJECTED = "rejected"
    """It broke a limit of its rollout; the version before it stays in service."""


def _named(kind: type[StrEnum], name: str) -> Enum:
    return Enum(
        kind, name=name, native_enum=False, create_constraint=True, length=16, values_callable=lambda k: [*map(str, k)]
    )


class Deployment(Base):
    """One attempt to put a version into service; `replaces` is the deployment that served before it."""

    __tablename__ = "deployments"
    __table_args__ = (
        Index("deployments_one_serving", "use_case", unique=True, postgresql_where=text("state = 'serving'")),
        Index("deployments_by_use_case", "use_case", "id"),
    )

    id: Mapped[int] = mapped_column(BigInteger, Identity(), primary_key=True)
    use_case: Mapped[str]
    version: Mapped[str]
    model_uri: Mapped[str]
    sha256: Mapped[str]
    trained_through: Mapped[date]
    reason: Mapped[DeploymentReason] = mapped_column(_named(DeploymentReason, "deployments_reason"))
    state: Mapped[DeploymentState] = mapped_column(_named(DeploymentState, "deployments_state"))
    started_at: Mapped[datetime] = mapped_column(DateTime(timezone=True))
    ended_at: Mapped[datetime | None] = mapped_column(DateTime(timezone=True))
    actor: Mapped[str]
    replaces: Mapped[int | None] = mapped_column(BigInteger)
    detail: Mapped[str | None]
    smoke: Mapped[dict[str, Any] | None] = mapped_column(JSONB)
    rollout: Mapped[dict[str, Any] | None] = mapped_column(JSONB)


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
    def locked(self, name: str) -> Iterator[None]:
        """One holder at a time of a named lock, until the block ends or this process dies."""
        with self._reported():
            connection = self.engine.connect()
            connection.execute(text(f"SET lock_timeout = '{LOCK_SECONDS}s'"))
            connection.execute(text("SELECT pg_advisory_lock(hashtextextended(:name, 0))"), {"name": name})
            connection.commit()
        try:
            yield
        finally:
            connection.close()

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
