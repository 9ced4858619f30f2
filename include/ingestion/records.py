"""The tables of ingestion: stored records, the workers' progress, and dead letters."""

from __future__ import annotations

from datetime import date, datetime

from sqlalchemy import BigInteger, DateTime, Identity, Index, text
from sqlalchemy.orm import Mapped, mapped_column

from include.database.tables import Base

INSTANT = DateTime(timezone=True)


class WeatherObservation(Base):
    """One hour's weather at one airport, by its newest record; daily partitions by UTC day of `observed_at`."""

    __tablename__ = "weather_observations"
    __table_args__ = ({"postgresql_partition_by": "RANGE (observed_at)"},)

    origin: Mapped[str] = mapped_column(primary_key=True)
    observed_at: Mapped[datetime] = mapped_column(INSTANT, primary_key=True)
    known_at: Mapped[datetime] = mapped_column(INSTANT)
    temperature: Mapped[float | None]
    dew_point: Mapped[float | None]
    humidity: Mapped[float | None]
    wind_direction: Mapped[float | None]
    wind_speed: Mapped[float | None]
    wind_gust: Mapped[float | None]
    precipitation: Mapped[float | None]
    pressure: Mapped[float | None]
    visibility: Mapped[float | None]
    event_time: Mapped[datetime] = mapped_column(INSTANT)


class Flight(Base):
    """One scheduled flight and what is known of its outcome, by its newest record; daily partitions by `date`.

    `flight_id` names the date, so it is unique by itself; a partitioned table's key must show what it is cut by.
    """

    __tablename__ = "flights"
    __table_args__ = (
        Index("flights_by_departure", "scheduled_departure"),
        {"postgresql_partition_by": "RANGE (date)"},
    )

    flight_id: Mapped[str] = mapped_column(primary_key=True)
    date: Mapped[date] = mapped_column(primary_key=True)
    carrier: Mapped[str]
    flight: Mapped[int] = mapped_column(BigInteger)
    tailnum: Mapped[str | None]
    origin: Mapped[str]
    dest: Mapped[str]
    scheduled_departure: Mapped[datetime] = mapped_column(INSTANT)
    scheduled_arrival: Mapped[datetime] = mapped_column(INSTANT)
    distance: Mapped[float]
    departed_at: Mapped[datetime | None] = mapped_column(INSTANT)
    dep_delay: Mapped[float | None]
    arrived_at: Mapped[datetime | None] = mapped_column(INSTANT)
    arr_delay: Mapped[float | None]
    event_time: Mapped[datetime] = mapped_column(INSTANT)


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
