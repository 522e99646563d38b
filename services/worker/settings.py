"""Settings of the worker, from its environment."""

from pathlib import Path

from pydantic import Field

from services.shared.objectstore import StoreSettings
from services.shared.settings import Address, Addresses, LogSettings, ProcessSettings, TlsSettings
from services.shared.signing import TrustSettings
from services.shared.transfer import TransferLimits


class NodeSettings(TrustSettings):
    """Settings of every process that runs a model, or a part of one."""

    pool: str = Field(description="Name of the pool in tidegate.yaml that this worker belongs to.")
    cache_dir: Path = Field(description="Folder for verified model files.")
    spare_versions: int = Field(1, ge=0, description="Unused model versions that are kept in the cache folder.")
    cache_gib: float | None = Field(
        None,
        gt=0,
        description="GiB that the cache folder may hold. For a new version unused ones are removed, the longest unused"
        " first; one that does not fit then is refused before anything is fetched. Default: what the disk has.",
    )
    stage_stall_s: float = Field(
        60.0, ge=10, description="Seconds without a byte from the object store after which a download fails."
    )
    stage_ranges: int = Field(
        8,
        ge=1,
        le=256,
        description="Parts of files that are downloaded at the same time. Each takes 8 MiB of memory.",
    )
    stage_mib_s: float | None = Field(
        None, gt=0, description="MiB a second that downloads may take together. Default: as fast as the store is."
    )
    drain_s: float = Field(
        25.0,
        ge=0,
        description="Seconds that running requests get when the worker stops; then other workers continue them.",
    )

    @property
    def transfer_limits(self) -> TransferLimits:
        """How model files may be downloaded."""
        speed = None if self.stage_mib_s is None else self.stage_mib_s * 2**20
        return TransferLimits(self.stage_ranges, speed, self.stage_stall_s)

    @property
    def cache_bytes(self) -> int | None:
        """Bytes that the cache folder may hold; None: what the disk has."""
        return None if self.cache_gib is None else int(self.cache_gib * 2**30)


class FollowerSettings(TlsSettings, LogSettings, NodeSettings, StoreSettings):
    """Settings of a follower: `python -m services.worker --follow`."""

    config: Path = Field(description="Path of tidegate.yaml; the pool must have the same settings as on rank 0.")
    http_listen: Address = Field(description="host:port on which the process listens for HTTP: probes and metrics.")
    group_address: Address = Field(
        description="host:port of rank 0, the worker that this follower belongs to: its `listen`, or its `advertise`."
    )
    node_rank: int = Field(ge=1, le=63, description="Which of the worker's nodes this is; followers count from 1.")


class WorkerSettings(ProcessSettings, NodeSettings, StoreSettings):
    """Settings of the worker."""

    routers: Addresses = Field(description="host:port of each router, with commas between.")
    advertise: Address | None = Field(
        None,
        description="host:port at which gateways, and the followers of several nodes, reach this worker. Default:"
        " `listen`.",
    )
    worker_id: str | None = Field(
        None,
        pattern=r"^[A-Za-z0-9._:-]{1,128}$",
        description="Name of the worker; it must be unique. Default: host name and process id.",
    )
    stuck_after_s: float = Field(
        25.0,
        gt=0,
        description="Seconds without an engine step, although there is work, after which the worker counts as stuck."
        " After twice that time it is replaced.",
    )
    adapter_poll_s: float = Field(
        5.0,
        gt=0,
        description="Seconds between two looks at the registry for new adapters and new versions of them, if the pool"
        " serves adapters. At most 20 adapters a second are looked up.",
    )
    stage_limit_s: float | None = Field(
        None,
        gt=0,
        description="Seconds in which a new version must be downloaded and verified; else the weight update fails."
        " Default: as long as bytes arrive (`stage_stall_s`).",
    )
    delivery_finish_s: float = Field(
        60.0,
        ge=0,
        description="Seconds that requests which no other worker can continue get to finish before the weights change."
        " New requests are served meanwhile.",
    )
    swap_limit_s: float = Field(
        300.0,
        gt=0,
        description="Seconds in which the engine must replace its weights, or answer its golden prompts. After that the"
        " worker ends and is replaced.",
    )
