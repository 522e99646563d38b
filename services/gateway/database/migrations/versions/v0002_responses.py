"""Stored responses."""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    """Makes their table."""
    op.create_table(
        "responses",
        sa.Column("id", sa.String(64), primary_key=True),
        sa.Column("tenant", sa.String(64), nullable=False),
        sa.Column("created", sa.Float, nullable=False),
        sa.Column("expires", sa.Float, nullable=False),
        sa.Column("status", sa.String(16), nullable=False),
        sa.Column("beat", sa.Float, nullable=False),
        sa.Column("previous", sa.String(64)),
        sa.Column("background", sa.Boolean, nullable=False),
        sa.Column("size", sa.Integer, nullable=False),
        sa.Column("document", sa.LargeBinary, nullable=False),
        sa.Column("input", sa.LargeBinary, nullable=False),
    )
    op.create_index("responses_by_tenant", "responses", ["tenant", "created", "size"])
    op.create_index("responses_by_expiry", "responses", ["expires"])
    op.create_index("responses_by_status", "responses", ["status", "beat"])
