"""Which of vLLM's own arguments `args` of tidegate.yaml may not set, and why.

All other arguments of AsyncEngineArgs may be set. The worker checks their names and types, because only it has vLLM.
"""

from collections.abc import Mapping
from types import MappingProxyType

FIRST_CLASS: Mapping[str, str] = MappingProxyType(
    {
        "max_num_seqs": "max_running",
        "max_model_len": "context_tokens",
        "runner": "runner",
        "dtype": "dtype",
        "gpu_memory_utilization": "gpu_memory_utilization",
        "kv_cache_memory_bytes": "kv_memory_gib",
        "num_gpu_blocks_override": "kv_memory_gib",
        "enforce_eager": "compile",
        "max_num_batched_tokens": "step_tokens",
        "tensor_parallel_size": "tensor_parallel",
        "pipeline_parallel_size": "pipeline_parallel",
        "data_parallel_size": "data_parallel",
        "enable_expert_parallel": "expert_parallel",
        "distributed_executor_backend": "executor",
        "nnodes": "nodes",
        "quantization": "quantization",
        "kv_cache_dtype": "kv_cache_dtype",
        "kv_offloading_size": "kv_offload_gib",
        "limit_mm_per_prompt": "media",
        "tool_call_parser": "tool_parser",
        "reasoning_parser": "reasoning_parser",
        "speculative_config": "speculation",
        "spec_method": "speculation",
        "spec_model": "speculation",
        "spec_tokens": "speculation",
    }
)
"""vLLM's name of a setting, and the key of `engine` that sets it."""

_REASONS = (
    ("model model_weights tokenizer", "the key `model` of the pool names the model"),
    ("served_model_name", "clients name a model by its pool"),
    (
        "trust_remote_code worker_cls worker_extension_cls scheduler_cls logits_processors model_class_overrides"
        " reasoning_parser_plugin io_processor_plugin additional_config",
        "workers run no code but their own and vLLM's",
    ),
    (
        "load_format model_loader_extra_config ignore_patterns download_dir revision code_revision tokenizer_revision"
        " hf_token hf_config_path config_format pt_load_map_location generation_config override_generation_config"
        " skip_tokenizer_init mm_encoder_fp8_scale_path",
        "models come whole and verified from the registry. Publish a version that has what you need",
    ),
    ("weight_transfer_config", "weights come from the registry, and are proved"),
    (
        "scheduling_policy max_num_active_seqs max_num_queued_reqs max_num_queued_tokens",
        "the router decides about the order of requests and the length of queues",
    ),
    ("enable_prefix_caching", "the router places requests by cached prompts"),
    ("prefix_caching_hash_algo", "the hash keeps the cached prompts of tenants apart"),
    (
        "kv_offloading_backend kv_transfer_config",
        "a weight update must empty every cache, and it does not reach LMCache and other connectors yet."
        " `kv_offload_gib` uses vLLM's own backend",
    ),
    ("ec_transfer_config kv_sharing_fast_prefill swa_bounded_replay", "cached prompts must be exact"),
    (
        "offload_backend cpu_offload_gb cpu_offload_params offload_group_size offload_num_in_group"
        " offload_prefetch_step offload_params enable_eplb eplb_config",
        "it moves weights to where a weight update would not find them",
    ),
    (
        "enable_sleep_mode sleep_mode_offload_cudagraph sleep_preserve_parameter_names enable_nccl_comm_suspend",
        "nobody would wake the engine",
    ),
    (
        "master_addr master_port node_rank kv_events_config otlp_traces_endpoint collect_detailed_traces",
        "workers choose their own addresses and ports",
    ),
    (
        "data_parallel_rank data_parallel_start_rank data_parallel_size_local data_parallel_address"
        " data_parallel_rpc_port data_parallel_hybrid_lb data_parallel_external_lb data_parallel_multi_port_external_lb"
        " data_parallel_backend dp_sync_interval disable_nccl_for_dp_synchronization aggregate_engine_logging"
        " enable_elastic_ep elastic_ep_max_dp_size",
        "a worker holds one copy of the model. `workers` of the pool makes copies",
    ),
    ("per_request_spec_decode_metrics", "`usage` of every answer tells how many draft tokens were accepted"),
    ("ray_workers_use_nsight", "workers start their processes without Ray"),
    ("enable_fault_tolerance fault_tolerance_config shutdown_timeout", "workers drain and are replaced as a whole"),
    ("device_ids numa_bind_nodes numa_bind_cpus", "all workers of a pool read the same settings"),
    (
        "prefill_context_parallel_size decode_context_parallel_size dcp_comm_backend dcp_q_replicate"
        " dcp_kv_cache_interleave_size cp_kv_cache_interleave_size",
        "workers count GPUs and KV cache without context parallelism",
    ),
    (
        "enable_lora max_loras max_lora_rank max_cpu_loras lora_dtype lora_target_modules fully_sharded_loras"
        " default_mm_loras enable_tower_connector_lora specialize_active_lora enable_mixed_moe_lora_format"
        " enable_moe_shared_loras max_lora_cls_labels",
        "the key `adapters` of the pool names adapters, which come from the registry",
    ),
    ("max_logprobs logprobs_mode", "the API says what log probabilities mean, and how many there are"),
    ("structured_outputs_config", "grammars are checked for the backend that workers use"),
    ("stream_interval", "clients get each token in the step that made it"),
    ("disable_log_stats", "the load of a worker comes from these figures"),
    ("tokens_only", "workers turn text into tokens and tokens into text"),
    (
        "enable_log_requests log_level logging_config log_config_file profiler_config enable_trace_replay"
        " mm_encoder_fp8_scale_save_path mm_encoder_fp8_scale_save_margin",
        "workers write no prompts and no files of their own",
    ),
    ("allowed_local_media_path allowed_media_domains", "workers read no files and no URLs for clients"),
    (
        "convert diffusion_config enable_prompt_embeds enable_mm_embeds mm_encoder_only"
        " enable_return_routed_experts return_sampling_mask aux_output_config watermark_config",
        "workers generate text or embed it, and this changes what they take or return",
    ),
)

DENIED: Mapping[str, str] = MappingProxyType({name: reason for names, reason in _REASONS for name in names.split()})
"""Arguments that would break a promise, and why."""

REFUSED = (*FIRST_CLASS, *DENIED)
"""All names that `args` may not have."""


def refusal(name: str) -> str | None:
    """Returns why `args` may not have this name, or None if nothing here is against it.

    Args:
        name: A name as it is written, also as on vLLM's command line: `--max-num-seqs`.
    """
    plain = name.strip("-").replace("-", "_")
    if key := FIRST_CLASS.get(plain):
        return f"set the key `{key}` of `engine` instead"
    if reason := DENIED.get(plain):
        return f"not allowed, because {reason}"
    if plain in FIRST_CLASS.values():
        return "a key of `engine`, not of `args`"
    return "no argument of vLLM" if plain.startswith("_") else None
