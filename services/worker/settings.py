"""What a worker process is told by its environment."""

from pathlib import Path

from pydantic import Field

from services.shared.objectstore import StoreSettings
from services.shared.settings import Address, Addresses, ProcessSettings
from services.shared.signing import PublicKeys


class WorkerSettings(ProcessSettings, StoreSettings):
    pool: str = Field(description="name of the pool in tidegate.yaml that this worker belongs to")
    routers: Addresses = Field(description="host:port of the routers, with commas between")
    cache_dir: Path = Field(description="folder for verified model files")
    trusted_keys: PublicKeys = Field(description="public keys (Ed25519, base64) whose signed models may run here")
    advertise: Address | None = Field(None, description="host:port that gateways reach this worker at")
    worker_id: str | None = Field(None, pattern=r"^[A-Za-z0-9._:-]{1,128}$")
    stuck_after_s: float = Field(
        25.0,
        gt=0,
        description="an engine with work and no step for so long is stuck; after twice as long it is replaced",
    )
    drain_s: float = Field(
        25.0, ge=0, description="time that running requests get when the worker leaves; then others go on with them"
    )
    spare_versions: int = Field(1, ge=0, description="versions that stay in cache_dir though nobody uses them")
    stage_limit_s: float = Field(600.0, gt=0, description="a version that takes longer to be staged is not delivered")
    delivery_finish_s: float = Field(60.0, ge=0, description="time that running requests get before weights change")
    swap_limit_s: float = Field(
        300.0,
        gt=0,
        description="an engine that takes longer to replace its weights, or to answer its golden prompts, is given up",
    )
