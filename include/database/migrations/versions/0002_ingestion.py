"""The tables of ingestion: observations and flights in daily partitions, offsets, dead letters."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"

INSTANT = sa.DateTime(timezone=True)


def upgrade() -> None:
    op.create_table(
        "weather_observations",
        sa.Column("origin", sa.String, primary_key=True),
        sa.Column("observed_at", INSTANT, primary_key=True),
        sa.Column("known_at", INSTANT, nullable=False),
        *(sa.Column(name, sa.Float) for name in ("temperature", "dew_point", "humidity", "wind_direction")),
        *(sa.Column(name, sa.Float) for name in ("wind_speed", "wind_gust", "precipitation", "pressure", "visibility")),
        sa.Column("event_time", INSTANT, nullable=False),
        postgresql_partition_by="RANGE (observed_at)",
    )
    op.create_table(
        "flights",
        sa.Column("flight_id", sa.String, primary_key=True),
        sa.Column("date", sa.Date, primary_key=True),
        sa.Column("carrier", sa.String, nullable=False),
        sa.Column("flight", sa.BigInteger, nullable=False),
        sa.Column("tailnum", sa.String),
        sa.Column("origin", sa.String, nullable=False),
        sa.Column("dest", sa.String, nullable=False),
        sa.Column("scheduled_departure", INSTANT, nullable=False),
        sa.Column("scheduled_arrival", INSTANT, nullable=False),
        sa.Column("distance", sa.Float, nullable=False),
        sa.Column("departed_at", INSTANT),
        sa.Column("dep_delay", sa.Float),
        sa.Column("arrived_at", INSTANT),
        sa.Column("arr_delay", sa.Float),
        sa.Column("event_time", INSTANT, nullable=False),
        postgresql_partition_by="RANGE (date)",
    )
    op.create_index("flights_by_departure", "flights", ["scheduled_departure"])
    op.create_table(
        "consumer_offsets",
        sa.Column("consumer", sa.String, primary_key=True),
        sa.Column("topic", sa.String, primary_key=True),
        sa.Column("partition", sa.Integer, primary_key=True, autoincrement=False),
        sa.Column("next_offset", sa.BigInteger, nullable=False),
        sa.Column("updated_at", INSTANT, nullable=False, server_default=sa.text("now()")),
    )
    op.create_table(
        "dead_letters",
        sa.Column("id", sa.BigInteger, sa.Identity(), primary_key=True),
        sa.Column("consumer", sa.String, nullable=False),
        sa.Column("topic", sa.String, nullable=False),
        sa.Column("partition", sa.Integer, nullable=False),
        sa.Column("topic_offset", sa.BigInteger, nullable=False),
        sa.Column("schema_id", sa.String),
        sa.Column("reason", sa.String, nullable=False),
        sa.Column("value", sa.LargeBinary, nullable=False),
        sa.Column("seen_at", INSTANT, nullable=False, server_default=sa.text("now()")),
        sa.Column("replayed_at", INSTANT),
    )
    op.create_index(
        "dead_letters_open", "dead_letters", ["topic", "id"], postgresql_where=sa.text("replayed_at IS NULL")
    )
    op.create_index("dead_letters_by_place", "dead_letters", ["topic", "partition", "topic_offset"])


def downgrade() -> None:
    for table in ("dead_letters", "consumer_offsets", "flights", "weather_observations"):
        op.drop_table(table)
