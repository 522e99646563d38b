"""A cluster under test whose ledger is in a PostgreSQL of its own, which a drill can stop or freeze."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.robustness.cluster_under_test import ClusterUnderTest, cluster_under_test
from tests.support.postgres import Postgres, running_postgres

CONFIG = """
pools:
  - {name: tide, model: simulated, workers: 2, engine: {kind: simulated, max_running: 48, step_ms: 5}}
"""
PASSWORD = "planted-password-of-the-database"
"""The server asks for no password. The gateway gets one all the same, so that a leak of it can be found."""


@dataclass(frozen=True, slots=True)
class ClusterWithDatabase:
    """url: of the database, as psycopg takes it."""

    cluster: ClusterUnderTest
    database: Postgres
    url: str


@contextmanager
def cluster_with_database(folder: Path) -> Iterator[ClusterWithDatabase]:
    """Starts PostgreSQL and a cluster that uses it, and stops both at the end."""
    with running_postgres() as database:
        url = database.new_database()
        url_with_password = url.replace("postgres:@", f"postgres:{PASSWORD}@")
        assert PASSWORD in url_with_password
        with cluster_under_test(folder, CONFIG, "--database-url", url_with_password) as cluster:
            yield ClusterWithDatabase(cluster, database, url.replace("+psycopg", ""))
