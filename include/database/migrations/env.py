"""Alembic's entry point; `include.database.migrate` calls it."""

from __future__ import annotations

from alembic import context
from sqlalchemy import NullPool, create_engine, text

from include.database.address import sqlalchemy_url
from include.database.migrate import LOCK, VERSION_TABLE
from include.database.tables import Base
from include.ingestion import records  # noqa: F401 (its tables are part of the metadata)

engine = create_engine(sqlalchemy_url(context.config.attributes["url"]), poolclass=NullPool)
with engine.connect() as connection:
    context.configure(connection=connection, target_metadata=Base.metadata, version_table=VERSION_TABLE)
    with context.begin_transaction():
        connection.execute(text("SELECT pg_advisory_xact_lock(:lock)"), {"lock": LOCK})
        context.run_migrations()
