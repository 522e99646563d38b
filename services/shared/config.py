"""tidegate.yaml: what the cluster serves, and how. Every process reads the same file; unknown keys stop the start.

`scripts/configuration.py` writes the descriptions of these models into docs/configuration.md.
"""

from pathlib import Path
from typing import Annotated, Any, Literal

import yaml
from pydantic import Field, JsonValue, field_validator, model_validator

from services.shared.classes import ServiceClass
from services.shared.gates import Gates
from services.shared.rollout_settings import RolloutSettings
from services.shared.settings import WrongSettings, check
from services.shared.strict_model import Strict
from services.shared.swap_mode import SwapMode
from services.shared.tier import Tier
from services.shared.vllm_args import REFUSED, refusal

Name = Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9._-]{0,62}$")]
Medium = Literal["image", "audio", "video"]
Origin = Annotated[str, Field(pattern=r"^(\*|[a-z][a-z0-9+.-]*://[^\s/,?#*A-Z]+)$", max_length=256)]
"""What browsers send as Origin: scheme, host, and the port where it is not the scheme's own. `*` stands for all."""


class Ngram(Strict):
    """Speculative decoding without a model: drafts the tokens that followed the last few tokens earlier in the text."""

    method: Literal["ngram", "ngram_gpu"] = Field(
        description="Selects this method. `ngram_gpu` searches on the GPU, and cannot be used on a CPU."
    )
    tokens: int = Field(3, ge=1, le=16, description="Draft tokens in each engine step.")
    lookup_max: int = Field(4, ge=1, le=16, description="Longest run of last tokens that is searched for, in tokens.")
    lookup_min: int = Field(2, ge=1, le=16, description="Shortest run of last tokens that is searched for, in tokens.")


class Draft(Strict):
    """Speculative decoding with a smaller model or a trained head, which has its own version in the registry."""

    method: Literal["draft_model", "eagle", "eagle3", "medusa", "dflash", "dspark"] = Field(
        description="Selects this method; it must be the one that the head was trained for."
    )
    model: str = Field(description="Registry reference of the draft model: model, model@alias or model@version.")
    tokens: int = Field(3, ge=1, le=16, description="Draft tokens in each engine step.")


class Suffix(Strict):
    """Speculative decoding without a model: drafts from a suffix tree over earlier outputs."""

    method: Literal["suffix"] = Field(description="Selects this method.")
    tokens: int = Field(8, ge=1, le=32, description="Draft tokens in each engine step.")


class Mtp(Strict):
    """Speculative decoding with the multi-token prediction layers that the checkpoint itself has.

    A weight update replaces the model but not these layers: until the worker restarts, fewer drafts may be accepted.
    """

    method: Literal["mtp"] = Field(description="Selects this method.")
    tokens: int = Field(1, ge=1, le=16, description="Draft tokens in each engine step.")


Speculation = Annotated[Ngram | Draft | Suffix | Mtp, Field(discriminator="method")]


class VllmEngine(Strict):
    """Workers run the model with vLLM."""

    kind: Literal["vllm"] = Field("vllm", description="Selects this engine.")
    max_running: int = Field(
        32, ge=1, le=4096, description="Requests that run on one worker at the same time; vLLM's max_num_seqs."
    )
    context_tokens: int | None = Field(
        None,
        ge=16,
        description="Longest prompt plus answer, in tokens; vLLM's max_model_len. Default: what the model supports.",
    )
    dtype: Literal["auto", "bfloat16", "float16", "float32"] = Field(
        "auto",
        description="Data type of weights and computation; vLLM's dtype. `auto`: what the model was saved with; "
        "float32 on a CPU that would have to emulate bfloat16. Name one if the machines of a pool differ.",
    )
    gpu_memory_utilization: float | None = Field(
        None,
        gt=0,
        le=1,
        description="Fraction of the memory of each GPU that vLLM may use for weights, computation and KV cache; on a"
        " CPU the fraction of the machine's memory for each process. Not together with `kv_memory_gib`. Workers that"
        " share a GPU share its memory too. Default: on GPUs vLLM's own, 0.92; on CPUs `kv_memory_gib` is used.",
    )
    kv_memory_gib: float | None = Field(
        None,
        gt=0,
        description="GiB of KV cache on each GPU of a worker, on a CPU in each of its processes; vLLM's"
        " kv_cache_memory_bytes. Not together with `gpu_memory_utilization`. Default: on GPUs what"
        " `gpu_memory_utilization` leaves; on CPUs 1.",
    )
    compile: bool | None = Field(
        None,
        description="Compiles the model with torch.compile: the worker starts slower and runs faster. Default: true on"
        " GPUs, false on CPUs.",
    )
    step_tokens: int = Field(
        2048,
        ge=64,
        description="Tokens that one engine step may compute, prefill and decode together; vLLM's"
        " max_num_batched_tokens.",
    )
    tensor_parallel: int = Field(
        1,
        ge=1,
        le=64,
        description="Parts into which each layer is split; vLLM's tensor_parallel_size. A worker has `tensor_parallel`"
        " x `pipeline_parallel` GPUs, on a CPU as many processes.",
    )
    pipeline_parallel: int = Field(
        1,
        ge=1,
        le=64,
        description="Stages into which the layers are divided; vLLM's pipeline_parallel_size.",
    )
    data_parallel: int = Field(
        1,
        ge=1,
        json_schema_extra={"maximum": 1},
        description="Copies of the model in one worker. Only 1 is possible: `workers` of the pool makes copies.",
    )
    expert_parallel: bool = Field(
        False,
        description="Puts whole experts of a mixture-of-experts model on each GPU, instead of a part of each expert."
        " Needs `tensor_parallel` above 1.",
    )
    nodes: int = Field(
        1,
        ge=1,
        le=64,
        description="Machines of one worker; vLLM's nnodes. Each has the same number of its GPUs. On each but the first"
        " runs a follower (docs/models.md). Not together with `adapters` of the pool.",
    )
    executor: Literal["mp", "ray"] = Field(
        "mp",
        json_schema_extra={"enum": ["mp"]},
        description="What starts the processes of a worker; vLLM's distributed_executor_backend. Only `mp` is possible,"
        " also on several nodes.",
    )
    quantization: str | None = Field(
        None,
        min_length=1,
        description="Name of vLLM's quantization method, such as `fp8`. Default: what the checkpoint says of itself.",
    )
    kv_cache_dtype: str | None = Field(
        None,
        min_length=1,
        description="Data type of the KV cache, such as `fp8`; vLLM's kv_cache_dtype. Default: that of the model.",
    )
    kv_offload_gib: float | None = Field(
        None,
        gt=0,
        description="GiB of main memory of each worker for KV that leaves the GPU; vLLM's kv_offloading_size with its"
        " own backend. Not possible on a CPU. Default: KV that leaves the GPU is computed again.",
    )
    media: dict[Medium, Annotated[int, Field(ge=0, le=999)]] = Field(
        default_factory=dict,
        description="Most media in one prompt for each of `image`, `audio` and `video`; vLLM's limit_mm_per_prompt."
        " vLLM reserves memory for them. The API takes text only, so 0 saves this memory. Models of text ignore it."
        " Default: vLLM's own.",
    )
    tool_parser: str | None = Field(
        None,
        description="Name of vLLM's parser for the tool calls of this model, such as `hermes`. Default: none;"
        " requests with tools are refused.",
    )
    reasoning_parser: str | None = Field(
        None, description="Name of vLLM's parser for the reasoning of this model, such as `qwen3`. Default: none."
    )
    speculation: Speculation | None = Field(None, description="Speculative decoding. Default: off.")
    args: dict[str, JsonValue] = Field(
        default_factory=dict,
        json_schema_extra={"propertyNames": {"not": {"enum": list(REFUSED)}}},
        description="Other arguments of vLLM, by their names in its AsyncEngineArgs, such as `block_size: 32`. The"
        " worker checks names and types when it starts. What has a key of its own is refused, and so is what would"
        " break a promise, such as trust_remote_code. No secrets: `tidegate up` writes the file again.",
    )

    @property
    def ranks(self) -> int:
        """GPUs of one worker, or processes that run the model on a CPU."""
        return self.tensor_parallel * self.pipeline_parallel

    @property
    def ranks_per_node(self) -> int:
        """GPUs of one worker on each of its nodes."""
        return self.ranks // self.nodes

    @field_validator("data_parallel")
    @classmethod
    def _copies_are_workers(cls, given: int) -> int:
        if given > 1:
            raise ValueError(
                "the router cannot see the queue and the cache of each copy inside a worker. Set `workers` of the pool"
            )
        return given

    @field_validator("executor")
    @classmethod
    def _processes_start_without_ray(cls, given: str) -> str:
        if given == "ray":
            raise ValueError("workers run without Ray. For several nodes set `nodes`, and leave this key out")
        return given

    @field_validator("args")
    @classmethod
    def _args_keep_promises(cls, given: dict[str, JsonValue]) -> dict[str, JsonValue]:
        if refused := [f"{name}: {reason}" for name in given if (reason := refusal(name))]:
            raise ValueError("; ".join(refused))
        return given

    @model_validator(mode="after")
    def _settings_fit_together(self) -> "VllmEngine":
        if self.kv_memory_gib is not None and self.gpu_memory_utilization is not None:
            raise ValueError(
                f"kv_memory_gib = {self.kv_memory_gib:g} and gpu_memory_utilization = {self.gpu_memory_utilization:g}:"
                " both decide the size of the KV cache. Set one of them"
            )
        if self.expert_parallel and self.tensor_parallel == 1:
            raise ValueError(
                "expert_parallel = true does nothing with tensor_parallel = 1: raise that, or leave this out"
            )
        if self.ranks % self.nodes:
            raise ValueError(
                f"nodes = {self.nodes}: each node has the same number of GPUs, and tensor_parallel ="
                f" {self.tensor_parallel} x pipeline_parallel = {self.pipeline_parallel} are {self.ranks}."
                f" Choose nodes that divide {self.ranks}"
            )
        return self


class SimulatedEngine(Strict):
    """Workers run a simulated model: reproducible words, and steps that cost what is set here.

    The defaults are the costs of a small model on one GPU.
    """

    kind: Literal["simulated"] = Field("simulated", description="Selects this engine.")
    max_running: int = Field(32, ge=1, le=4096, description="Requests that run on one worker at the same time.")
    context_tokens: int = Field(8192, ge=16, description="Longest prompt plus answer, in tokens.")
    kv_tokens: int = Field(65_536, ge=16, description="Size of the KV cache of each worker, in tokens.")
    block_tokens: int = Field(16, ge=1, description="Tokens in one block of the KV cache.")
    step_tokens: int = Field(
        2048, ge=16, description="Tokens that one engine step may compute, prefill and decode together."
    )
    step_ms: float = Field(5.0, ge=0, description="Milliseconds that one engine step takes, without its sequences.")
    sequence_ms: float = Field(0.05, ge=0, description="Milliseconds that each running sequence adds to a step.")
    prefill_ms: float = Field(
        0.02, ge=0, description="Milliseconds that each prompt token outside the prefix cache adds to a step."
    )
    swap_ms: float = Field(500.0, ge=0, description="Milliseconds that it takes to replace the weights in place.")
    nodes: int = Field(
        1,
        ge=1,
        le=64,
        description="Machines of one worker, as with vLLM. The followers stage every version, and run nothing.",
    )

    @property
    def prefill_tokens_per_s(self) -> int:
        """Prefill speed in tokens per second; 0 when prompts cost nothing."""
        return round(1000 / self.prefill_ms) if self.prefill_ms else 0


Engine = Annotated[VllmEngine | SimulatedEngine, Field(discriminator="kind")]


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


class ClassPolicy(Strict):
    """The rules of one service class. Each class has its own defaults."""

    max_queued: int = Field(
        1000, ge=0, description="Requests of the class that may wait; more are refused with 429 and Retry-After."
    )
    max_queued_tokens: int = Field(
        4_000_000,
        ge=0,
        description="Estimated tokens of the class that may wait; more are refused with 429 and Retry-After.",
    )
    max_wait_s: float = Field(60.0, gt=0, description="Seconds that a request may wait; then it fails.")
    ttft_objective_s: float = Field(5.0, gt=0, description="Objective for the time to first token, in seconds.")
    ageing_s: float = Field(
        0.0,
        ge=0,
        description="After this many seconds without a grant while higher classes get grants, the class gets one grant"
        " in ten. 0: never.",
    )
    preempts: bool = Field(
        False,
        description="A request of this class may preempt requests of preemptible classes when its time to first token"
        " is likely to miss the objective.",
    )
    preemptible: bool = Field(
        False, description="Running requests of this class may be preempted; they are resumed later."
    )


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
    """The defaults of the class with the given values. A value of a wrong type stays as it is: pydantic refuses it."""
    if isinstance(given, ClassPolicy):
        given = given.model_dump(exclude_unset=True)
    return default.model_dump() | given if isinstance(given, dict) else given


class Price(Strict):
    """Prices for a million tokens, in the currency of the price list."""

    prompt: float = Field(ge=0, le=1_000_000, description="Price of a million prompt tokens.")
    cached: float | None = Field(
        None,
        ge=0,
        le=1_000_000,
        description="Price of a million prompt tokens that came from the prefix cache. Default: the price of prompt"
        " tokens.",
    )
    completion: float = Field(ge=0, le=1_000_000, description="Price of a million completion tokens.")


class ModelPrice(Price):
    """Prices of one model."""

    tiers: dict[Tier, Price] = Field(
        default_factory=dict, description="Prices of tiers that differ, by the name of the tier."
    )


class Prices(Strict):
    """The price list of usage reports. A model that is not listed has no cost."""

    currency: str = Field("USD", pattern=r"^[A-Z]{3}$", description="Currency of all prices, as three letters.")
    models: dict[str, ModelPrice] = Field(
        default_factory=dict, description="Prices by the name that clients put into `model`."
    )


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
        own = {c.label: _merged(policy, given.get(c.label, {})) for c, policy in _DEFAULT_POLICIES.items()}
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
