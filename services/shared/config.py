"""tidegate.yaml: what the cluster serves, and how. Every process reads the same file; unknown keys stop the start.

`scripts/configuration.py` writes the descriptions of these models into docs/configuration.md.
"""

from pathlib import Path
from typing import Annotated, Any, Literal

import yaml
from pydantic import Field, field_validator, model_validator

from services.shared.class_policy import DEFAULT_POLICIES, ClassPolicy, merged_policy
from services.shared.classes import ServiceClass
from services.shared.engine_settings import Engine, VllmEngine
from services.shared.gates import Gates
from services.shared.prices import Prices
from services.shared.rollout_settings import RolloutSettings
from services.shared.settings import WrongSettings, check
from services.shared.strict_model import Strict
from services.shared.swap_mode import SwapMode
from services.shared.tier import Tier

Name = Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9._-]{0,62}$")]
Origin = Annotated[str, Field(pattern=r"^(\*|[a-z][a-z0-9+.-]*://[^\s/,?#*A-Z]+)$", max_length=256)]
"""What browsers send as Origin: scheme, host, and the port where it is not the scheme's own. `*` stands for all."""


class ResumeLog(Strict):
    """Limits of the resume log in Redis, from which a client resumes a stream at another gateway (docs/streams.md)."""

    streams: int = Field(1000, ge=1, le=100_000, description="Streams of the pool that are kept at the same time.")
    tenant_streams: int = Field(
        200, ge=1, le=100_000, description="Streams of one tenant that are kept at the same time."
    )
    stream_kib: int = Field(
        64,
        ge=1,
        le=1024,
        description="KiB that are kept of one stream; 1 KiB holds about 100 tokens. A longer stream cannot be resumed"
        " beyond that point.",
    )
    keep_s: float = Field(300.0, ge=1, le=86_400, description="Seconds that a stream is kept after its last token.")


class ResponseCache(Strict):
    """Answers to deterministic requests, which each gateway keeps in memory (docs/cache.md)."""

    max_mib: int = Field(
        64, ge=1, le=65_536, description="MiB of memory that each gateway uses for the answers of the pool."
    )
    ttl_s: float = Field(3600.0, gt=0, description="Seconds that an answer is used after it was made.")


AdapterName = Annotated[
    str, Field(pattern=r"^[a-z0-9][a-z0-9._-]{0,62}(\*|@[a-z0-9][a-z0-9._-]{0,63})?$", max_length=128)
]
"""A registry reference of an adapter, or the beginning of names with `*` after it."""


class Adapters(Strict):
    """LoRA adapters that the workers of a pool serve beside its model (docs/adapters.md)."""

    names: tuple[AdapterName, ...] = Field(
        min_length=1,
        max_length=256,
        description="Adapters of the registry: name, name@alias or name@version; `support-*` stands for every adapter"
        " whose name begins with `support-`. Clients ask for `pool:name`.",
    )
    max_loaded: int = Field(
        4,
        ge=1,
        le=256,
        description="Adapters in the memory of one worker's engine at the same time; vLLM's max_loras. The least"
        " recently used one makes room for another.",
    )
    max_rank: Literal[8, 16, 32, 64, 128, 256, 320, 512] = Field(
        16,
        description="Largest rank of an adapter; vLLM's max_lora_rank. It costs memory for each of `max_loaded`.",
    )
    max_cached: int = Field(
        64,
        ge=1,
        le=100_000,
        description="Adapter versions that stay on a worker's disk while no request uses them.",
    )


class WeightUpdates(Strict):
    """What a worker of a pool does with requests when its weights change in place."""

    mode: SwapMode = Field(
        SwapMode.FINISH,
        description="What happens to requests that run. `finish`: they get the time of the hold to finish, and the"
        " others are continued with the weights that come; `recompute`: they are continued with them at once;"
        " `hand_over`: they get the time of the hold, and the others are continued by a worker that still has the old"
        " version, or else as in `recompute`.",
    )
    hold_s: float | None = Field(
        None,
        ge=0,
        le=3600,
        description="Seconds that new requests may wait for running ones before the weights change. Default: half of"
        " `ttft_objective_s` of the class `default`.",
    )


class Pool(Strict):
    """Workers that serve the same model with the same engine settings."""

    name: Name = Field(description="Name of the pool; clients put it into `model`.")
    model: str = Field(description="Registry reference of the model: model, model@alias or model@version.")
    workers: int = Field(
        1, ge=0, le=4096, description="Worker processes that `tidegate up` starts; pods of the pool on Kubernetes."
    )
    scales_from_zero: bool = Field(
        False,
        description="An autoscaler stops the pool's last worker, and starts one when requests wait. While there is no"
        " worker, requests wait as long as their class allows (`max_wait_s`). Default: after"
        " TIDEGATE_NO_WORKER_GRACE_MS without a worker they are refused.",
    )
    engine: Engine = Field(default_factory=VllmEngine, description="The engine of the workers. Default: vLLM.")
    placement: Literal["prefix", "least_load", "round_robin"] = Field(
        "prefix",
        description="How the router chooses a worker. `prefix`: the worker that has most of the prompt cached, while"
        " the load stays balanced; `least_load`: the worker with the least load; `round_robin`: one after the other.",
    )
    overtaking: int = Field(
        16,
        ge=0,
        le=1000,
        description="Cache bypass: how many requests may go before the first request of a full pool's queue because"
        " the free worker has their prompt cached. 0: the order is exact.",
    )
    burst_tokens: int = Field(
        8192,
        ge=0,
        le=10**9,
        description="Tokens that a tenant may use ahead of its fair share of a class, before its requests wait for"
        " those of other tenants.",
    )
    isolation: float = Field(
        0.4,
        ge=0,
        le=1,
        description="While a tenant sends far more than its share, some workers are reserved for the other tenants: so"
        " many that the other tenants fill this fraction of the slots there. 0: none are reserved.",
    )
    journal: ResumeLog | None = Field(
        None,
        description="Keeps the tokens of streams that have an Idempotency-Key, so that clients can resume them."
        " Default: no streams are kept.",
    )
    adapters: Adapters | None = Field(None, description="LoRA adapters that the pool serves. Default: none.")
    weight_updates: WeightUpdates = Field(
        default_factory=WeightUpdates,
        description="What happens to requests when the weights of a worker change. Default: as its keys say.",
    )
    response_cache: ResponseCache | None = Field(
        None,
        description="Answers deterministic requests from memory when the request allows it. Default: no cache.",
    )
    rollout: RolloutSettings = Field(
        default_factory=RolloutSettings,
        description="How the pool changes to another version of its model (docs/models.md). Default: worker by worker.",
    )
    gates: Gates | None = Field(
        default_factory=Gates,
        description="What a rollout of the pool watches, and how much worse a new version may be (docs/models.md)."
        " `null`: nothing is compared, and a canary goes by its times.",
    )

    @model_validator(mode="after")
    def _adapters_need_one_node(self) -> "Pool":
        if self.adapters and self.engine.nodes > 1:
            raise ValueError(
                f"adapters and engine.nodes = {self.engine.nodes}: workers on several nodes serve no adapters yet."
                " Leave the adapters out, or put them into a pool whose workers have one node"
            )
        return self


class Cluster(Strict):
    """The whole file."""

    pools: tuple[Pool, ...] = Field(min_length=1, description="The pools of workers; at least one.")
    classes: dict[Tier, ClassPolicy] = Field(
        default_factory=dict,
        validate_default=True,
        description="Rules of the service classes, by their names. Higher classes go first: priority, default, flex,"
        " batch. Within a class, tenants are served by fair queueing.",
    )
    prices: Prices = Field(default_factory=Prices, description="The price list of `tidegate usage`.")
    strict_requests: bool = Field(
        False,
        description="Refuses requests that have unknown fields at their top level. Default: what only hints or labels"
        " is left out, and the answer names it (docs/api.md).",
    )
    prefix_cache: Literal["tenant", "shared"] = Field(
        "tenant",
        description="Which requests share cached prompts. `tenant`: those of the same tenant; `shared`: all requests.",
    )
    traces_endpoint: str | None = Field(
        None,
        pattern=r"^https?://[^\s]+$",
        description="OpenTelemetry collector that gets the traces of all processes by OTLP over gRPC, such as"
        " `http://collector:4317`. OTEL_EXPORTER_OTLP_ENDPOINT of a process comes before it. Default: no traces.",
    )
    cors_origins: tuple[Origin, ...] = Field(
        (),
        max_length=64,
        description="Origins whose web pages may call the REST API from a browser, such as `https://chat.example.org`;"
        " `*` for all.",
    )

    @field_validator("classes", mode="before")
    @classmethod
    def _each_class_has_its_own_defaults(cls, given: Any) -> Any:
        """Fills the defaults in, so that the file means the same when it is written again with all values spelt out."""
        if not isinstance(given, dict):
            return given
        own = {c.label: merged_policy(policy, given.get(c.label, {})) for c, policy in DEFAULT_POLICIES.items()}
        return given | own

    @model_validator(mode="after")
    def _names_are_unique(self) -> "Cluster":
        names = [pool.name for pool in self.pools]
        if len(set(names)) < len(names):
            raise ValueError(f"pool names must differ, got {names}")
        return self

    def pool(self, name: str) -> Pool:
        """The pool of that name.

        Raises:
            WrongSettings: There is no such pool.
        """
        for pool in self.pools:
            if pool.name == name:
                return pool
        raise WrongSettings(f"pools: no pool is named {name!r} (there are: {', '.join(p.name for p in self.pools)})")

    def hold_s(self, pool: Pool) -> float:
        """Seconds that admission to a worker of the pool may be held before its weights change."""
        held = pool.weight_updates.hold_s
        return self.policy(ServiceClass.DEFAULT).ttft_objective_s / 2 if held is None else held

    def policy(self, service_class: ServiceClass) -> ClassPolicy:
        """The rules of a class: the values of the file over the defaults of the class."""
        return next(policy for label, policy in self.classes.items() if label == service_class.label)


def load(path: Path) -> Cluster:
    """Reads the file.

    Raises:
        WrongSettings: The file cannot be read, or a key is unknown, missing or wrong. The message names file, key and
            value.
    """
    try:
        document = yaml.safe_load(path.read_text())
    except (OSError, yaml.YAMLError) as error:
        raise WrongSettings(f"{path}: {error}") from None
    return check(Cluster, document, lambda key: f"{path}: {key}")
