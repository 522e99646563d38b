"""Arguments of vLLM for the `engine` settings of a pool in tidegate.yaml."""

from typing import Any

from services.shared.config import Draft, Ngram, Speculation, VllmEngine
from services.worker.engine.contract import Model

_GIB = 2**30


def engine_arguments(config: VllmEngine, model: Model) -> dict[str, Any]:
    """Returns the keyword arguments of AsyncEngineArgs. On a CPU, precision.py and executor.py choose two of them."""
    arguments: dict[str, Any] = {
        "model": str(model.folder),
        "tokenizer": str(model.folder),
        "served_model_name": model.manifest.model,
        "dtype": config.dtype,
        "load_format": "safetensors",
        "trust_remote_code": False,
        "max_num_seqs": config.max_running,
        "max_num_batched_tokens": config.step_tokens,
        "kv_cache_memory_bytes": int(config.kv_memory_gib * _GIB),
        "tensor_parallel_size": config.tensor_parallel,
        "enforce_eager": not config.compile,
        "enable_prefix_caching": True,
        "scheduling_policy": "priority",
        "max_logprobs": 20,
        "enable_log_requests": False,
        "reasoning_parser": config.reasoning_parser or "",
        # grammar/helper.py checks every grammar with this same backend, so vLLM never falls back to another one.
        # White space is off because small models can go on writing it without end.
        "structured_outputs_config": {"backend": "xgrammar", "disable_any_whitespace": True},
    }
    if config.context_tokens is not None:
        arguments["max_model_len"] = config.context_tokens
    if config.speculation is not None:
        arguments["speculative_config"] = speculative_config(config.speculation, model)
    return arguments


def speculative_config(speculation: Speculation, model: Model) -> dict[str, Any]:
    """Returns vLLM's `speculative_config`.

    Raises:
        ValueError: a draft model is configured, but none was staged.
    """
    drafting: dict[str, Any] = {"method": speculation.method, "num_speculative_tokens": speculation.tokens}
    if isinstance(speculation, Ngram):
        drafting |= {"prompt_lookup_max": speculation.lookup_max, "prompt_lookup_min": speculation.lookup_min}
    if isinstance(speculation, Draft):
        if model.draft is None:
            raise ValueError(f"speculation needs the draft model {speculation.model}, and none was staged")
        drafting["model"] = str(model.draft)
    return drafting
