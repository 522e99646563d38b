"""Alembic's entry to the gateway's migrations."""

from services.gateway.database.tables import metadata
from services.shared.migrations import run

run(metadata)
