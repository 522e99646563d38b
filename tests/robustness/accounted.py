"""A cluster that keeps its books in a PostgreSQL of its own, which can be taken away."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.robustness.arena import Arena, arena
from tests.support.postgres import Postgres, running_postgres

CONFIG = """
pools:
  - {name: tide, model: simulated, workers: 2, engine: {kind: simulated, max_running: 48, step_ms: 5}}
"""
PASSWORD = "planted-password-of-the-database"
"""The server asks nobody for one, and whoever has one should keep it."""


@dataclass(frozen=True, slots=True)
class Accounted:
    arena: Arena
    database: Postgres
    url: str


@contextmanager
def accounted(folder: Path) -> Iterator[Accounted]:
    with running_postgres() as database:
        url = database.new_database()
        with_password = url.replace("postgres:@", f"postgres:{PASSWORD}@")
        assert PASSWORD in with_password
        with arena(folder, CONFIG, "--database-url", with_password) as built:
            yield Accounted(built, database, url.replace("+psycopg", ""))
