"""What a router process is told."""

from pydantic import Field

from services.shared.settings import ProcessSettings


class RouterSettings(ProcessSettings):
    redis_url: str = Field(description="URL of Redis or Valkey, such as redis://:password@127.0.0.1:6379/0")
    session_lease_ms: int = Field(5_000, ge=500, description="a gateway not heard of for this long has lost its work")
    worker_lease_ms: int = Field(5_000, ge=500, description="a worker not heard of for this long is lost")
    heartbeat_ms: int = Field(1_000, ge=50, description="how often workers report")
    detach_grace_ms: int = Field(1_000, ge=0, description="time for a worker to come back after its stream broke")
    no_worker_grace_ms: int = Field(30_000, ge=0, description="a pool without workers still queues for this long")
    rollout_worker_limit_s: float = Field(
        900.0, gt=0, description="a worker that takes longer to change its weights fails the rollout"
    )
    upkeep_ms: int = Field(250, ge=10, description="how often leases are renewed and reaped")
