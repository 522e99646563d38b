"""cluster.json: what the supervisor runs, for `status` and `down` and for cleaning up after it."""

from pathlib import Path
from typing import Literal

import psutil
from pydantic import BaseModel, ConfigDict, ValidationError

from services.local.data_folder import write_private

Phase = Literal["starting", "running", "stopping"]
ProcessState = Literal["starting", "running", "waiting", "failed", "stopped"]
"""waiting: it died and is started again in a while."""

_CLOCK_SLACK_S = 2.0


class StrictRecord(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class ProcessRecord(StrictRecord):
    """`created`: Unix seconds at which the system started it."""

    name: str
    pid: int | None
    created: float
    address: str
    http_address: str = ""
    state: ProcessState
    restarts: int
    log: str
    litter: tuple[str, ...] = ()


class Addresses(StrictRecord):
    """host:port, and the URL of the object store."""

    rest: str
    grpc: str
    redis: str
    s3: str
    routers: tuple[str, ...]


class ClusterRecord(StrictRecord):
    supervisor_pid: int
    supervisor_created: float
    state: Phase
    addresses: Addresses
    models: tuple[str, ...]
    processes: tuple[ProcessRecord, ...]

    @property
    def is_supervised(self) -> bool:
        return is_alive(self.supervisor_pid, self.supervisor_created)


def save(file: Path, record: ClusterRecord) -> None:
    write_private(file, record.model_dump_json(indent=2))


def load(file: Path) -> ClusterRecord | None:
    """None when no cluster was started here, or an older version of this program wrote the file."""
    try:
        return ClusterRecord.model_validate_json(file.read_bytes())
    except (FileNotFoundError, ValidationError):
        return None


def is_alive(pid: int, created: float) -> bool:
    """Whether the process of that pid is still the one that started at `created`."""
    try:
        process = psutil.Process(pid)
        same = abs(process.create_time() - created) < _CLOCK_SLACK_S
        return same and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False
