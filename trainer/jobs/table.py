"""The tables of training jobs and their logs. A change needs a migration beside it (trainer/jobs/migrations)."""

from sqlalchemy import Boolean, Column, Float, Index, Integer, MetaData, String, Table, Text

metadata = MetaData()
jobs = Table(
    "training_jobs",
    metadata,
    Column("id", String(40), primary_key=True),
    Column("state", String(10), nullable=False),
    Column("recipe", Text, nullable=False),
    Column("data", Text, nullable=False),
    Column("submitted", Float, nullable=False),
    Column("not_before", Float, nullable=False),
    Column("attempts", Integer, nullable=False, default=0),
    Column("owner", String(200)),
    Column("lease_until", Float),
    Column("cancelling", Boolean, nullable=False, default=False),
    Column("started", Float),
    Column("ended", Float),
    Column("step", Integer, nullable=False, default=0),
    Column("steps", Integer, nullable=False, default=0),
    Column("loss", Float),
    Column("phase", String(200), nullable=False, default=""),
    Column("error", Text),
    Column("published", Text, nullable=False, default="[]"),
    Index("training_jobs_by_state", "state", "submitted"),
)
log = Table(
    "training_log",
    metadata,
    Column("job", String(40), primary_key=True),
    Column("number", Integer, primary_key=True, autoincrement=False),
    Column("at", Float, nullable=False),
    Column("text", Text, nullable=False),
)
