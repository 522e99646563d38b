"""The trainer's database: SQLite in a file, or PostgreSQL, with the table of jobs in it."""

from pathlib import Path
from typing import Any

from sqlalchemy import Engine, create_engine, make_url
from sqlalchemy.exc import ArgumentError

from services.shared.migrations import Migrations, upgrade
from services.shared.settings import WrongSettings

BUSY_LIMIT_S = 10
# A database that is gone must not hold a trainer past its lease. PostgreSQL's are libpq's own names.
_CONNECT_OPTIONS: dict[str, dict[str, Any]] = {
    "sqlite": {"timeout": BUSY_LIMIT_S},
    "postgresql": {"connect_timeout": BUSY_LIMIT_S, "tcp_user_timeout": BUSY_LIMIT_S * 1000},
}
MIGRATIONS = Migrations(Path(__file__).parent / "migrations", version_table="trainer_schema", lock=0x7472_6169)


def engine_of(url: str) -> Engine:
    """An engine for the database; it does not connect yet.

    Raises:
        WrongSettings: `url` is no URL of a database. The message leaves the URL out: it may hold a password.
    """
    try:
        parsed = make_url(url)
        options = _CONNECT_OPTIONS.get(parsed.get_backend_name(), {})
        return create_engine(parsed, pool_pre_ping=True, connect_args=options)
    except (ArgumentError, ImportError) as error:
        raise WrongSettings(f"TIDEGATE_DATABASE_URL is not usable: {type(error).__name__}") from None


def connect(url: str) -> Engine:
    """An engine for the database, with the table of jobs in it.

    Raises:
        WrongSettings: `url` is no URL of a database.
        SQLAlchemyError: The database is away, or does not take a migration.
    """
    engine = engine_of(url)
    migrate(engine)
    return engine


def migrate(engine: Engine) -> None:
    """Brings the database to the schema that this version needs; safe while other trainers do the same.

    A table that an older trainer made without migrations is taken over with its jobs.

    Raises:
        SQLAlchemyError: The database is away, or does not take a migration.
    """
    with engine.begin() as connection:
        if engine.dialect.name == "sqlite":
            # The driver begins no transaction before changes of the schema.
            connection.exec_driver_sql("BEGIN IMMEDIATE")
        upgrade(connection, MIGRATIONS)
