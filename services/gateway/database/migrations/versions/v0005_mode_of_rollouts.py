"""The mode of a rollout, in its history."""

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"


def upgrade() -> None:
    """Adds the column. A gateway of an earlier release, which still runs meanwhile, writes rows without it."""
    op.add_column("rollout_events", sa.Column("mode", sa.String(16), nullable=False, server_default=""))
