"""Bringing the database to the schema that this version wants; safe while other gateways do the same."""

from pathlib import Path

from alembic import command
from alembic.config import Config
from sqlalchemy import Connection, text

_MIGRATIONS = Path(__file__).parent / "migrations"
# Any number will do, as long as every gateway takes the same and nobody else does.
_LOCK = 0x7469_6465


def migrate(connection: Connection) -> None:
    """Within the caller's transaction: all of it or nothing. Raises SQLAlchemyError."""
    if connection.dialect.name == "postgresql":
        connection.execute(text("SELECT pg_advisory_xact_lock(:number)"), {"number": _LOCK})
    config = Config()
    config.set_main_option("path_separator", "os")
    config.set_main_option("script_location", str(_MIGRATIONS))
    config.attributes["connection"] = connection
    command.upgrade(config, "head")
