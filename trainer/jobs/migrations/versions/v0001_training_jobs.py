"""The table of training jobs.

Trainers made this table without migrations before: where it is there already, it is kept as it is, with its jobs.
"""

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None


def upgrade() -> None:
    """Makes the table of jobs."""
    op.create_table(
        "training_jobs",
        sa.Column("id", sa.String(40), primary_key=True),
        sa.Column("state", sa.String(10), nullable=False),
        sa.Column("recipe", sa.Text, nullable=False),
        sa.Column("data", sa.Text, nullable=False),
        sa.Column("submitted", sa.Float, nullable=False),
        sa.Column("not_before", sa.Float, nullable=False),
        sa.Column("attempts", sa.Integer, nullable=False),
        sa.Column("owner", sa.String(200)),
        sa.Column("lease_until", sa.Float),
        sa.Column("cancelling", sa.Boolean, nullable=False),
        sa.Column("started", sa.Float),
        sa.Column("ended", sa.Float),
        sa.Column("step", sa.Integer, nullable=False),
        sa.Column("steps", sa.Integer, nullable=False),
        sa.Column("loss", sa.Float),
        sa.Column("phase", sa.String(200), nullable=False),
        sa.Column("error", sa.Text),
        sa.Column("published", sa.Text, nullable=False),
        if_not_exists=True,
    )
    op.create_index("training_jobs_by_state", "training_jobs", ["state", "submitted"], if_not_exists=True)
