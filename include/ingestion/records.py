"""The tables of ingestion that every use case shares: the workers' progress, and dead letters."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import BigInteger, DateTime, Identity, Index, text
from sqlalchemy.orm import Mapped, mapped_column

from include.database.tables import Base

INSTANT = DateTime(timezone=True)


class ConsumerOffset(Base):
    """The next message that a consumer owes, by log and partition; written with the rows that account for it.

    `log` tells the topic's log from any other of its name; it is empty in rows that are older than this column.
    """

    __tablename__ = "consumer_offsets"

    consumer: Mapped[str] = mapped_column(primary_key=True)
    topic: Mapped[str] = mapped_column(primary_key=True)
    log: Mapped[str] = mapped_column(primary_key=True, server_default="")
    partition: Mapped[int] = mapped_column(primary_key=True)
    next_offset: Mapped[int] = mapped_column(BigInteger)
    updated_at: Mapped[datetime] = mapped_column(INSTANT, server_default=text("now()"))


class DeadLetterRow(Base):
    """A message that could not be stored: its position, the reason, its bytes and those of its schema's header."""

    __tablename__ = "dead_letters"
    __table_args__ = (
        Index("dead_letters_open", "topic", "id", postgresql_where=text("replayed_at IS NULL")),
        Index("dead_letters_by_place", "topic", "partition", "topic_offset"),
    )

    id: Mapped[int] = mapped_column(BigInteger, Identity(), primary_key=True)
    consumer: Mapped[str]
    topic: Mapped[str]
    partition: Mapped[int]
    topic_offset: Mapped[int] = mapped_column(BigInteger)
    log: Mapped[str] = mapped_column(server_default="")
    schema_id: Mapped[bytes | None]
    reason: Mapped[str]
    value: Mapped[bytes]
    seen_at: Mapped[datetime] = mapped_column(INSTANT, server_default=text("now()"))
    replayed_at: Mapped[datetime | None] = mapped_column(INSTANT)
