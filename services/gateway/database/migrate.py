"""Brings the gateway's database to the schema that this version needs; safe while other gateways do the same."""

from pathlib import Path

from sqlalchemy import Connection

from services.shared.migrations import Migrations, upgrade

MIGRATIONS = Migrations(Path(__file__).parent / "migrations", version_table="gateway_schema", lock=0x7469_6465)


def migrate(connection: Connection) -> None:
    """Migrates within the caller's transaction: all of it or nothing.

    Raises:
        SQLAlchemyError: The database is away, or does not take a migration.
    """
    upgrade(connection, MIGRATIONS)
