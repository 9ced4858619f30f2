"""What was served when is in the releases folder now; the older history stays here, for people to read."""

from __future__ import annotations

from alembic import op

revision = "0005"
down_revision = "0004"

BEFORE, AFTER = "deployments", "deployments_before_releases"


def upgrade() -> None:
    op.rename_table(BEFORE, AFTER)


def downgrade() -> None:
    op.rename_table(AFTER, BEFORE)
