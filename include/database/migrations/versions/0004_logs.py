"""Offsets belong to a log, not to a topic's name; a dead letter keeps its header's very bytes."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"

KEY = "consumer_offsets_pkey"


def upgrade() -> None:
    # Rows without a log are taken over by the first one that their consumer meets.
    op.add_column("consumer_offsets", sa.Column("log", sa.String, nullable=False, server_default=""))
    op.drop_constraint(KEY, "consumer_offsets")
    op.create_primary_key(KEY, "consumer_offsets", ["consumer", "topic", "log", "partition"])
    op.add_column("dead_letters", sa.Column("log", sa.String, nullable=False, server_default=""))
    op.execute("ALTER TABLE dead_letters ALTER schema_id TYPE bytea USING convert_to(schema_id, 'UTF8')")


def downgrade() -> None:
    op.execute("ALTER TABLE dead_letters ALTER schema_id TYPE varchar USING encode(schema_id, 'escape')")
    op.drop_column("dead_letters", "log")
    op.drop_constraint(KEY, "consumer_offsets")
    # The older tables hold one log of a name: the one that was read last.
    op.execute(
        "DELETE FROM consumer_offsets WHERE (consumer, topic, log) NOT IN (SELECT DISTINCT ON (consumer, topic)"
        " consumer, topic, log FROM consumer_offsets ORDER BY consumer, topic, updated_at DESC, log)"
    )
    op.drop_column("consumer_offsets", "log")
    op.create_primary_key(KEY, "consumer_offsets", ["consumer", "topic", "partition"])
