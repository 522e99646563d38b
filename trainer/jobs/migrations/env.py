"""Alembic's entry to the trainer's migrations."""

from services.shared.migrations import run
from trainer.jobs.table import metadata

run(metadata)
