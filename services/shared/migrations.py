"""Alembic migrations as every service with a database runs them: at its start, and beside others that do the same.

A service has a folder of migrations with an `env.py` that calls `run`. Nothing here needs an alembic.ini.
"""

from dataclasses import dataclass
from pathlib import Path

from alembic import command, context
from alembic.config import Config
from sqlalchemy import Connection, MetaData, text


@dataclass(frozen=True, slots=True)
class Migrations:
    """Where a service's migrations are, and how they are kept apart from another service's in the same database.

    Attributes:
        folder: Holds `env.py` and `versions/`.
        version_table: Table in which Alembic notes the revision.
        lock: Number of PostgreSQL's advisory lock; each service has its own.
    """

    folder: Path
    version_table: str
    lock: int


def upgrade(connection: Connection, migrations: Migrations) -> None:
    """Brings the database to the newest revision, within the caller's transaction: all of it or nothing.

    On PostgreSQL, processes that start together wait for each other. On SQLite the caller begins an immediate
    transaction, which does the same.

    Raises:
        SQLAlchemyError: The database is away, or does not take a migration.
    """
    if connection.dialect.name == "postgresql":
        connection.execute(text("SELECT pg_advisory_xact_lock(:number)"), {"number": migrations.lock})
    config = Config()
    config.set_main_option("path_separator", "os")
    config.set_main_option("script_location", str(migrations.folder))
    config.attributes["connection"] = connection
    config.attributes["version_table"] = migrations.version_table
    command.upgrade(config, "head")


def run(metadata: MetaData) -> None:
    """What each `env.py` calls: runs the migrations on the connection that `upgrade` was given.

    Args:
        metadata: The service's tables, as the newest revision has them.
    """
    attributes = context.config.attributes
    context.configure(
        connection=attributes["connection"],
        target_metadata=metadata,
        version_table=attributes["version_table"],
        transactional_ddl=True,
    )
    context.run_migrations()
