"""tidegate.yaml: what the cluster serves and how. Every process reads the same file; unknown keys stop the start."""

from pathlib import Path
from typing import Annotated, Any, Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from services.shared.classes import ServiceClass
from services.shared.settings import WrongSettings, check

Name = Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9._-]{0,62}$")]
Tier = Literal["priority", "default", "flex", "batch"]


class Strict(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Ngram(Strict):
    """Drafts the tokens that followed the last few when they stood earlier in the prompt or the answer."""

    method: Literal["ngram"]
    tokens: int = Field(3, ge=1, le=16, description="draft tokens a step")
    lookup_max: int = Field(4, ge=1, le=16, description="longest run of tokens to look for")
    lookup_min: int = Field(2, ge=1, le=16)


class Draft(Strict):
    """A smaller model, or an EAGLE head, drafts; it is a registry artifact of its own."""

    method: Literal["draft_model", "eagle", "eagle3"]
    model: str = Field(description="registry reference of the draft")
    tokens: int = Field(3, ge=1, le=16, description="draft tokens a step")


class Suffix(Strict):
    """Drafts from a suffix tree over earlier outputs."""

    method: Literal["suffix"]
    tokens: int = Field(8, ge=1, le=32, description="draft tokens a step")


Speculation = Annotated[Ngram | Draft | Suffix, Field(discriminator="method")]


class VllmEngine(Strict):
    kind: Literal["vllm"] = "vllm"
    max_running: int = Field(32, ge=1, le=4096, description="sequences that run together")
    context_tokens: int | None = Field(None, ge=16, description="longest prompt + answer; default: the model's own")
    dtype: Literal["auto", "bfloat16", "float16", "float32"] = "auto"
    kv_memory_gib: float = Field(1.0, gt=0, description="memory for the KV cache")
    compile: bool = Field(False, description="compile the model: starts slower, runs faster")
    step_tokens: int = Field(2048, ge=64, description="tokens that one step may compute: prefill chunks and decodes")
    tensor_parallel: int = Field(1, ge=1, le=64, description="GPUs that share one model")
    tool_parser: str | None = Field(None, description="name of vLLM's parser for this model's tool calls")
    reasoning_parser: str | None = None
    speculation: Speculation | None = None


class SimulatedEngine(Strict):
    """Costs as an engine has them; the defaults are those of a small model on one GPU, in milliseconds."""

    kind: Literal["simulated"] = "simulated"
    max_running: int = Field(32, ge=1, le=4096)
    context_tokens: int = Field(8192, ge=16)
    kv_tokens: int = Field(65_536, ge=16)
    block_tokens: int = Field(16, ge=1)
    step_tokens: int = Field(2048, ge=16, description="tokens that one step may compute")
    step_ms: float = Field(5.0, ge=0, description="cost of a step that runs one sequence")
    sequence_ms: float = Field(0.05, ge=0, description="added for each running sequence")
    prefill_ms: float = Field(0.02, ge=0, description="added for each prompt token that no cache holds")
    swap_ms: float = Field(500.0, ge=0, description="time in which weights are replaced in place")

    @property
    def prefill_tokens_per_s(self) -> int:
        """0: prompts cost nothing."""
        return round(1000 / self.prefill_ms) if self.prefill_ms else 0


Engine = Annotated[VllmEngine | SimulatedEngine, Field(discriminator="kind")]


class Journal(Strict):
    """How much of running streams is kept, so that their clients may go on elsewhere (docs/streams.md)."""

    streams: int = Field(1000, ge=1, le=100_000, description="streams of the pool that are kept at once")
    tenant_streams: int = Field(200, ge=1, le=100_000, description="streams of one tenant that are kept at once")
    stream_kib: int = Field(64, ge=1, le=1024, description="what is kept of one stream; 1 KiB holds about 100 tokens")
    keep_s: float = Field(300.0, ge=1, le=86_400, description="a stream that stands still is kept so long")


class ResponseCache(Strict):
    """Answers that each gateway keeps in memory for requests that wish for it (docs/cache.md)."""

    max_mib: int = Field(64, ge=1, le=65_536, description="memory of each gateway for the pool's answers")
    ttl_s: float = Field(3600.0, gt=0, description="an answer is good for so long")


class Pool(Strict):
    """Workers that serve one model. Clients ask for it by `name`."""

    name: Name
    model: str = Field(description="registry reference: model, model@alias or model@version")
    workers: int = Field(1, ge=0, le=4096, description="processes that `tidegate up` starts")
    engine: Engine = Field(default_factory=VllmEngine)
    placement: Literal["prefix", "least_load", "round_robin"] = Field(
        "prefix", description="how workers are chosen: by cached prefix within balance, by load alone, or in turn"
    )
    overtaking: int = Field(
        16,
        ge=0,
        le=1000,
        description="how often the head of a full pool's queue may be overtaken by requests that a free worker has"
        " cached; 0: order is exact",
    )
    burst_tokens: int = Field(
        8192, ge=0, le=10**9, description="tokens that a tenant may run ahead of its share of a class before it waits"
    )
    isolation: float = Field(
        0.4,
        ge=0,
        le=1,
        description="while a tenant floods, it is kept out of as many workers as the tenants within their share fill to"
        " this share of their slots; 0: of none",
    )
    journal: Journal | None = Field(
        None, description="keeps the tokens of streams that have an Idempotency-Key; default: none are kept"
    )
    response_cache: ResponseCache | None = Field(
        None, description="answers deterministic requests again from memory, where they ask for it; default: none"
    )


class ClassPolicy(Strict):
    max_queued: int = Field(1000, ge=0, description="requests that may wait; more are refused with Retry-After")
    max_queued_tokens: int = Field(4_000_000, ge=0, description="estimated tokens that may wait")
    max_wait_s: float = Field(60.0, gt=0, description="a request that waited this long is given up")
    ttft_objective_s: float = Field(5.0, gt=0, description="objective for the time to first token")
    ageing_s: float = Field(
        0.0, ge=0, description="a class without a turn of its own for so long gets a tenth of better ones'; 0: never"
    )
    preempts: bool = Field(False, description="may make preemptible classes yield when its objective is in danger")
    preemptible: bool = Field(False, description="its running work may be made to yield, and is resumed later")


_DEFAULT_POLICIES = {
    ServiceClass.PRIORITY: ClassPolicy(max_wait_s=30, ttft_objective_s=0.5, preempts=True),
    ServiceClass.DEFAULT: ClassPolicy(ageing_s=10),
    ServiceClass.FLEX: ClassPolicy(max_wait_s=600, ttft_objective_s=60, ageing_s=60, preemptible=True),
    ServiceClass.BATCH: ClassPolicy(
        max_queued=10_000,
        max_queued_tokens=40_000_000,
        max_wait_s=86_400,
        ttft_objective_s=3600,
        ageing_s=300,
        preemptible=True,
    ),
}


def _merged(default: ClassPolicy, given: Any) -> Any:
    """What is no mapping is left to be refused."""
    if isinstance(given, ClassPolicy):
        given = given.model_dump(exclude_unset=True)
    return default.model_dump() | given if isinstance(given, dict) else given


class Price(Strict):
    """For a million tokens, in the list's currency."""

    prompt: float = Field(ge=0, le=1_000_000)
    cached: float | None = Field(None, ge=0, le=1_000_000, description="prompt tokens from the cache; default: prompt")
    completion: float = Field(ge=0, le=1_000_000)


class ModelPrice(Price):
    tiers: dict[Tier, Price] = Field(default_factory=dict, description="prices of tiers that differ")


class Prices(Strict):
    """What usage reports charge. A model that is not listed has no cost."""

    currency: str = Field("USD", pattern=r"^[A-Z]{3}$")
    models: dict[str, ModelPrice] = Field(default_factory=dict, description="by the names that clients ask for")


class Cluster(Strict):
    pools: tuple[Pool, ...] = Field(min_length=1)
    classes: dict[Tier, ClassPolicy] = Field(default_factory=dict, validate_default=True)
    prices: Prices = Field(default_factory=Prices)
    prefix_cache: Literal["tenant", "shared"] = Field(
        "tenant", description="who shares cached prompts: requests of one tenant, or all of them"
    )

    @field_validator("classes", mode="before")
    @classmethod
    def _each_class_has_its_own_defaults(cls, given: Any) -> Any:
        """So that the file is the same when it is written again with all defaults spelt out."""
        if not isinstance(given, dict):
            return given
        own = {c.label: _merged(policy, given.get(c.label, {})) for c, policy in _DEFAULT_POLICIES.items()}
        return given | own

    @model_validator(mode="after")
    def _names_are_unique(self) -> "Cluster":
        names = [pool.name for pool in self.pools]
        if len(set(names)) < len(names):
            raise ValueError(f"pool names must differ, got {names}")
        return self

    def pool(self, name: str) -> Pool:
        """Raises WrongSettings when there is no such pool."""
        for pool in self.pools:
            if pool.name == name:
                return pool
        raise WrongSettings(f"pools: none is named {name!r} (there are: {', '.join(p.name for p in self.pools)})")

    def policy(self, service_class: ServiceClass) -> ClassPolicy:
        """The class's own defaults, but for what the file says."""
        return next(policy for label, policy in self.classes.items() if label == service_class.label)


def load(path: Path) -> Cluster:
    """Raises WrongSettings naming file, key and value."""
    try:
        document = yaml.safe_load(path.read_text())
    except (OSError, yaml.YAMLError) as error:
        raise WrongSettings(f"{path}: {error}") from None
    return check(Cluster, document, lambda key: f"{path}: {key}")
