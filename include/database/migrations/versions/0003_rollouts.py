"""Deployments know their rollout: what was seen of it, and that a version may be rejected by it."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0003"
down_revision = "0002"

STATES = ("started", "serving", "replaced", "rolled_back", "failed", "refused", "interrupted")


def upgrade() -> None:
    op.add_column("deployments", sa.Column("rollout", postgresql.JSONB))
    _allow((*STATES, "rejected"))


def downgrade() -> None:
    # The older tables know no such state; the detail of the row still says what happened.
    op.execute("UPDATE deployments SET state = 'refused' WHERE state = 'rejected'")
    _allow(STATES)
    op.drop_column("deployments", "rollout")


def _allow(states: tuple[str, ...]) -> None:
    op.drop_constraint("deployments_state", "deployments", type_="check")
    op.create_check_constraint("deployments_state", "deployments", sa.column("state").in_(states))
