"""cluster.json: what the supervisor runs. `status` and `down` read it, also after the supervisor has died."""

from pathlib import Path
from typing import Literal

import psutil
from pydantic import BaseModel, ConfigDict, ValidationError

from services.local.data_folder import write_private

Phase = Literal["starting", "running", "stopping"]
ProcessState = Literal["starting", "running", "waiting", "failed", "stopped"]
"""waiting: the process died and is started again after a delay."""

_CLOCK_SLACK_S = 2.0


class StrictRecord(BaseModel):
    """Base of the records in the file: unknown keys are refused."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class ProcessRecord(StrictRecord):
    """One process of the cluster. `created` is its start time in Unix seconds, as the system has it."""

    name: str
    pid: int | None
    created: float
    address: str
    http_address: str = ""
    state: ProcessState
    restarts: int
    log: str
    leftover_files: tuple[str, ...] = ()


class Addresses(StrictRecord):
    """Where the parts listen: host:port, and for the object store its URL."""

    rest: str
    grpc: str
    redis: str
    s3: str
    routers: tuple[str, ...]


class ClusterRecord(StrictRecord):
    """The whole file. Times are Unix seconds."""

    supervisor_pid: int
    supervisor_created: float
    state: Phase
    addresses: Addresses
    models: tuple[str, ...]
    processes: tuple[ProcessRecord, ...]

    @property
    def is_supervised(self) -> bool:
        """Whether the supervisor still runs."""
        return is_alive(self.supervisor_pid, self.supervisor_created)


def save(file: Path, record: ClusterRecord) -> None:
    """Replaces the file."""
    write_private(file, record.model_dump_json(indent=2))


def load(file: Path) -> ClusterRecord | None:
    """Reads the file. None when no cluster was started here, or when another version of this program wrote the file."""
    try:
        return ClusterRecord.model_validate_json(file.read_bytes())
    except (FileNotFoundError, ValidationError):
        return None


def is_alive(pid: int, created: float) -> bool:
    """Whether the process `pid` is still the one that started at `created` (Unix seconds)."""
    try:
        process = psutil.Process(pid)
        same = abs(process.create_time() - created) < _CLOCK_SLACK_S
        return same and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False
