"""The table of deployments: what was served when."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0001"
down_revision = None

REASONS = ("nightly", "rollback", "restored")
STATES = ("started", "serving", "replaced", "rolled_back", "failed", "refused", "interrupted")


def upgrade() -> None:
    op.create_table(
        "deployments",
        sa.Column("id", sa.BigInteger, sa.Identity(), primary_key=True),
        sa.Column("use_case", sa.String, nullable=False),
        sa.Column("version", sa.String, nullable=False),
        sa.Column("model_uri", sa.String, nullable=False),
        sa.Column("sha256", sa.String, nullable=False),
        sa.Column("trained_through", sa.Date, nullable=False),
        sa.Column("reason", sa.String(16), nullable=False),
        sa.Column("state", sa.String(16), nullable=False),
        sa.Column("started_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("ended_at", sa.DateTime(timezone=True)),
        sa.Column("actor", sa.String, nullable=False),
        sa.Column("replaces", sa.BigInteger),
        sa.Column("detail", sa.String),
        sa.Column("smoke", postgresql.JSONB),
        sa.CheckConstraint(sa.column("reason").in_(REASONS), name="deployments_reason"),
        sa.CheckConstraint(sa.column("state").in_(STATES), name="deployments_state"),
    )
    op.create_index(
        "deployments_one_serving",
        "deployments",
        ["use_case"],
        unique=True,
        postgresql_where=sa.text("state = 'serving'"),
    )
    op.create_index("deployments_by_use_case", "deployments", ["use_case", "id"])


def downgrade() -> None:
    op.drop_table("deployments")
