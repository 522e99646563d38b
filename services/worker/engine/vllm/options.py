"""Arguments of vLLM for the `engine` settings of a pool in tidegate.yaml."""

from typing import Any

from services.shared.engine_settings import Draft, Mtp, Ngram, Speculation, Suffix, VllmEngine
from services.shared.speculators import draft_length
from services.worker.engine.contract import Model
from services.worker.engine.node import Node

_GIB = 2**30
SCHEDULER = "services.worker.engine.vllm.switched_scheduler.make"
WORKER_EXTENSION = "services.worker.engine.vllm.worker_extension.WorkerExtension"
"""A name, because vLLM imports the class in the processes of the model."""


def engine_arguments(
    config: VllmEngine, model: Model, node: Node | None = None, traces_endpoint: str | None = None
) -> dict[str, Any]:
    """Returns the keyword arguments of AsyncEngineArgs. On a CPU, cpu_options.py chooses two of them.

    Args:
        config: Settings of the pool, with the defaults of the device (vllm_device.py).
        model: The staged model.
        node: Which of the worker's nodes this is; None: the only one.
        traces_endpoint: Where vLLM sends its spans; None: nowhere.
    """
    arguments: dict[str, Any] = {
        "model": str(model.folder),
        "tokenizer": str(model.folder),
        "served_model_name": model.manifest.model,
        "runner": config.runner,
        "dtype": config.dtype,
        "load_format": "safetensors",
        "trust_remote_code": False,
        "worker_extension_cls": WORKER_EXTENSION,
        "max_num_seqs": config.max_running,
        "max_num_batched_tokens": config.step_tokens,
        "tensor_parallel_size": config.tensor_parallel,
        "pipeline_parallel_size": config.pipeline_parallel,
        "enable_expert_parallel": config.expert_parallel,
        "enforce_eager": not config.compile,
        "scheduling_policy": "priority",
        "max_logprobs": 20,
        "enable_log_requests": False,
        "reasoning_parser": config.reasoning_parser or "",
        # grammar/helper.py checks every grammar with this same backend, so vLLM never falls back to another one.
        # White space is off because small models can go on writing it without end.
        "structured_outputs_config": {"backend": "xgrammar", "disable_any_whitespace": True},
    }
    # None leaves the choice to vLLM.
    chosen = {
        # Models that read a whole text at once (BERT) have nothing to cache.
        "enable_prefix_caching": True if config.runner == "generate" else None,
        "max_model_len": config.context_tokens,
        "kv_cache_memory_bytes": None if config.kv_memory_gib is None else int(config.kv_memory_gib * _GIB),
        "gpu_memory_utilization": config.gpu_memory_utilization,
        "distributed_executor_backend": "mp" if config.ranks > 1 else None,
        "quantization": config.quantization,
        "kv_cache_dtype": config.kv_cache_dtype,
        "kv_offloading_size": config.kv_offload_gib,
        "limit_mm_per_prompt": config.media or None,
        "otlp_traces_endpoint": traces_endpoint,
    }
    arguments |= {name: value for name, value in chosen.items() if value is not None}
    if node is not None:
        arguments |= {
            "nnodes": node.nodes,
            "node_rank": node.rank,
            "master_addr": node.master,
            "master_port": node.port,
        }
    if config.speculation is not None:
        arguments["speculative_config"] = speculative_config(config.speculation, model)
        if is_switched(config.speculation):
            # One range with one number of tokens: switched_scheduler.py needs vLLM's table, and fills it itself.
            tokens = draft_tokens(config.speculation, model)
            table = {"num_speculative_tokens_per_batch_size": [(1, config.max_running, tokens)]}
            arguments["speculative_config"] |= table
            arguments["scheduler_cls"] = SCHEDULER
        arguments["per_request_spec_decode_metrics"] = "summary"
    # `args` has no name that stands above: config.py refuses those.
    return config.args | arguments


def speculative_config(speculation: Speculation, model: Model) -> dict[str, Any]:
    """Returns vLLM's `speculative_config`.

    Raises:
        ValueError: a draft model is configured, but none was staged.
    """
    drafting: dict[str, Any] = {
        "method": speculation.method,
        "num_speculative_tokens": draft_tokens(speculation, model),
    }
    if isinstance(speculation, Ngram):
        drafting |= {"prompt_lookup_max": speculation.lookup_max, "prompt_lookup_min": speculation.lookup_min}
    if isinstance(speculation, Draft | Mtp) and speculation.model:
        if model.draft is None:
            raise ValueError(f"speculation needs the speculator {speculation.model}, and none was staged")
        drafting["model"] = str(model.draft.folder)
    return drafting


def is_switched(speculation: Speculation | None) -> bool:
    """Whether drafts are switched on and off."""
    return speculation is not None and not isinstance(speculation, Suffix) and bool(speculation.adaptive)


def draft_tokens(speculation: Speculation, model: Model) -> int:
    """Draft tokens in each step."""
    if isinstance(speculation, Mtp) and not speculation.model:
        return speculation.tokens or 1
    return draft_length(speculation.tokens, model.draft.manifest if model.draft else None)
