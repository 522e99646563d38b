"""The section `engine` of a pool in tidegate.yaml: which engine its workers run, and how."""

from typing import Annotated, Literal

from pydantic import Field, JsonValue, field_validator, model_validator

from services.shared.strict_model import Strict
from services.shared.vllm_args import REFUSED, refusal

Medium = Literal["image", "audio", "video"]


SWITCHED = ("ngram", "draft_model", "eagle", "eagle3", "mtp")
"""Methods whose drafts vLLM can leave out of a step."""
_ADAPTIVE = (
    "Drafts only where it pays: the worker measures tokens a second with and without drafts, by size of the batch, and"
    " switches drafts off and on (docs/speculation.md). Default: true on CPUs; false on GPUs, where vLLM captures"
    " smaller CUDA graphs for it."
)


class Ngram(Strict):
    """Speculative decoding without a model: drafts the tokens that followed the last few tokens earlier in the text."""

    method: Literal["ngram", "ngram_gpu"] = Field(
        description="Selects this method. `ngram_gpu` searches on the GPU, and cannot be used on a CPU."
    )
    tokens: int = Field(3, ge=1, le=16, description="Draft tokens in each engine step.")
    lookup_max: int = Field(4, ge=1, le=16, description="Longest run of last tokens that is searched for, in tokens.")
    lookup_min: int = Field(2, ge=1, le=16, description="Shortest run of last tokens that is searched for, in tokens.")
    adaptive: bool | None = Field(None, description=_ADAPTIVE)

    @model_validator(mode="after")
    def _can_adapt(self) -> "Ngram":
        if self.adaptive and self.method == "ngram_gpu":
            raise ValueError("adaptive = true: drafts of ngram_gpu are not switched. Leave the key out")
        return self


class Draft(Strict):
    """Speculative decoding with a smaller model or a trained head, which has its own version in the registry."""

    method: Literal["draft_model", "eagle", "eagle3", "medusa", "dflash", "dspark"] = Field(
        description="Selects this method; it must be the one that the head was trained for."
    )
    model: str = Field(
        description="Registry reference of the speculator (docs/speculation.md): model, model@alias or model@version."
    )
    tokens: int | None = Field(
        None,
        ge=1,
        le=16,
        description="Draft tokens in each engine step. Default: what the speculator's manifest says; 3 for a model that"
        " was not imported as a speculator.",
    )
    adaptive: bool | None = Field(
        None, description=f"{_ADAPTIVE} Only with draft_model, eagle and eagle3: vLLM cannot switch the others."
    )

    @model_validator(mode="after")
    def _can_adapt(self) -> "Draft":
        if self.adaptive and self.method not in SWITCHED:
            raise ValueError(f"adaptive = true: vLLM cannot switch drafts of {self.method}. Leave the key out")
        return self


class Suffix(Strict):
    """Speculative decoding without a model: drafts from a suffix tree over earlier outputs."""

    method: Literal["suffix"] = Field(description="Selects this method.")
    tokens: int = Field(8, ge=1, le=32, description="Draft tokens in each engine step.")


class Mtp(Strict):
    """Speculative decoding with multi-token prediction layers: those of the checkpoint itself, or a speculator's.

    A weight update replaces the model but not these layers: until the worker restarts, fewer drafts may be accepted.
    """

    method: Literal["mtp"] = Field(description="Selects this method.")
    model: str | None = Field(
        None,
        description="Registry reference of a speculator with these layers. Default: the layers of the checkpoint.",
    )
    tokens: int | None = Field(
        None,
        ge=1,
        le=16,
        description="Draft tokens in each engine step. Default: what the speculator's manifest says; 1 without one.",
    )
    adaptive: bool | None = Field(None, description=_ADAPTIVE)


Speculation = Annotated[Ngram | Draft | Suffix | Mtp, Field(discriminator="method")]


Runner = Literal["generate", "pooling"]
RUNNER = (
    "What the model is run for, as in vLLM. `generate`: text; `pooling`: embeddings of texts (`/v1/embeddings`),"
    " also by a model that was made for text."
)


class VllmEngine(Strict):
    """Workers run the model with vLLM."""

    kind: Literal["vllm"] = Field("vllm", description="Selects this engine.")
    runner: Runner = Field("generate", description=RUNNER)
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

    def _only_for_text(self) -> str | None:
        """The first key that is set and means something only for text."""
        given = {name: getattr(self, name) for name in ("tool_parser", "reasoning_parser", "speculation")}
        return next((name for name, value in given.items() if value is not None), None)

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
        if self.runner == "pooling" and (given := self._only_for_text()):
            raise ValueError(f"{given}: has no effect with runner = pooling, which makes no text. Leave it out")
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


class SimulatedDraft(Strict):
    """Speculative decoding with a simulated speculator. How often its tokens are accepted is in its config.json."""

    method: Literal["draft_model"] = Field("draft_model", description="Selects this method, the only one.")
    model: str = Field(description="Registry reference of the speculator: model, model@alias or model@version.")
    tokens: int | None = Field(
        None,
        ge=1,
        le=16,
        description="Draft tokens in each engine step. Default: what the speculator's manifest says.",
    )
    draft_ms: float = Field(0.5, ge=0, description="Milliseconds that drafting adds to a step, for each draft token.")
    check_ms: float = Field(
        0.01, ge=0, description="Milliseconds that checking adds to a step, for each draft token of each sequence."
    )
    adaptive: bool = Field(
        True,
        description="Drafts only where it pays: the worker measures tokens a second with and without drafts, by size of"
        " the batch, and switches drafts off and on (docs/speculation.md).",
    )


class SimulatedEngine(Strict):
    """Workers run a simulated model: reproducible words, and steps that cost what is set here.

    The defaults are the costs of a small model on one GPU.
    """

    kind: Literal["simulated"] = Field("simulated", description="Selects this engine.")
    runner: Runner = Field("generate", description=RUNNER)
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
    speculation: SimulatedDraft | None = Field(None, description="Speculative decoding. Default: off.")
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
