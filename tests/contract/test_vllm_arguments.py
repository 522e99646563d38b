"""`args` of tidegate.yaml and the installed vLLM: which names it has, which values they take, and what is refused."""

import sys
from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest
import yaml

from services.shared.engine_settings import VllmEngine
from services.shared.settings import WrongSettings
from services.shared.vllm_args import REFUSED, refusal
from tests.support.signing import KEY

pytestmark = [pytest.mark.vllm, pytest.mark.timeout(400), pytest.mark.filterwarnings("default")]

_NAMES = """
all2all_backend allow_deprecated_quantization async_scheduling attention_backend attention_config block_size
compilation_config cpu_distributed_timeout_seconds cudagraph_capture_sizes cudagraph_metrics
custom_histogram_buckets dbo_decode_token_threshold dbo_prefill_token_threshold disable_cascade_attn
disable_chunked_mm_input disable_custom_all_reduce disable_hybrid_kv_cache_manager disable_sliding_window
distributed_timeout_seconds ec_manager_config enable_batch_sharded_sampling enable_chunked_prefill
enable_cumem_allocator enable_dbo enable_ep_weight_filter enable_flashinfer_autotune enable_hc_sp
enable_layerwise_nvtx_tracing enable_logging_iteration_details enable_mamba_cache_stochastic_rounding
enable_mamba_shared_prefix_checkpoint enable_mfu_metrics enable_mm_processor_stats enable_shm_tensor_arena
engram_config expert_placement_strategy fail_on_environ_validation gdn_prefill_backend hf_overrides
interleave_mm_strings ir_op_priority jit_monitor_mode jit_monitor_verbose kda_decode_backend kda_prefill_backend
kernel_config kv_cache_dtype_skip_layers kv_cache_metrics kv_cache_metrics_sample language_model_only
linear_backend long_prefill_token_threshold long_prefill_token_threshold_adaptive mamba_backend mamba_block_size
mamba_cache_dtype mamba_cache_mode mamba_cache_philox_rounds mamba_config mamba_ssm_cache_dtype
mamba_ssu_algorithm max_cudagraph_capture_size max_num_scheduled_tokens max_parallel_loading_workers
media_io_kwargs mm_device_do_normalize mm_encoder_attn_backend mm_encoder_attn_dtype mm_encoder_tp_mode
mm_hasher_algorithm mm_ipc_gpu_memory_gb mm_processor_cache_gb mm_processor_cache_type mm_processor_device
mm_processor_kwargs mm_shm_cache_max_object_size_mb mm_tensor_ipc model_impl moe_backend numa_bind
optimization_level performance_mode pooler_config prefill_schedule_interval
prefix_cache_retention_interval prefix_match_unit quantization_config reasoning_config renderer_num_workers
replayssm_buffer_len safetensors_load_strategy safetensors_prefetch_block_size safetensors_prefetch_num_threads
scheduler_reserve_full_isl seed show_hidden_metrics_for_version skip_mm_profiling sparse_indexer_topk_backend
tokenizer_mode ubatch_size use_fp64_gumbel use_replayssm use_tqdm_on_load video_pruning_method
video_pruning_rate watermark
"""
REVIEWED = frozenset(_NAMES.split())
"""Arguments that `args` may set. Review those that a new vLLM brings: vllm_args.py has the refused ones."""

ONLY_OF_THE_SERVER = {"tool_call_parser"}
"""Arguments of `vllm serve` that are none of the engine's."""


def read(args: dict[str, Any], **settings: Any) -> dict[str, Any]:
    from services.worker.engine.vllm.arguments import check_arguments

    return check_arguments(VllmEngine(args=args, **settings), "engine").args


def problems(args: dict[str, Any], **settings: Any) -> str:
    with pytest.raises(WrongSettings) as wrong:
        read(args, **settings)
    return str(wrong.value)


def test_every_argument_of_vllm_is_reviewed() -> None:
    from vllm.engine.arg_utils import AsyncEngineArgs

    names = {field.name for field in fields(AsyncEngineArgs)}
    assert {name for name in names if refusal(name) is None} == REVIEWED
    assert set(REFUSED) - names == ONLY_OF_THE_SERVER


def test_every_argument_that_may_be_set_has_a_type() -> None:
    wrong = {name: problems({name: [[]]}) for name in REVIEWED}
    assert {name for name, said in wrong.items() if not said.startswith(f"engine.args.{name}: ")} == set()


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("block_size", 32),
        ("seed", 7),
        ("kv_cache_metrics_sample", 1),
        ("async_scheduling", None),
        ("cudagraph_capture_sizes", [1, 2]),
        ("hf_overrides", {"rope_scaling": {"type": "yarn", "factor": 4.0}}),
        ("quantization_config", {"linear": {"weight": "mxfp8"}}),
        ("mm_processor_kwargs", {"num_crops": 4}),
    ],
)
def test_right_values_stay_as_they_are(name: str, value: Any) -> None:
    assert read({name: value})[name] == value


def test_words_and_sections_become_what_vllm_has_for_them() -> None:
    from vllm.config import CompilationConfig
    from vllm.v1.attention.backends.registry import AttentionBackendEnum

    got = read({"attention_backend": "FLASH_ATTN", "compilation_config": {"mode": 0, "custom_ops": ["none"]}})
    assert got["attention_backend"] is AttentionBackendEnum.FLASH_ATTN
    assert isinstance(got["compilation_config"], CompilationConfig)
    assert got["compilation_config"].custom_ops == ["none"]


@pytest.mark.parametrize(
    ("args", "said"),
    [
        ({"blok_size": 32}, "engine.args.blok_size: vLLM has no such argument. Do you mean block_size?"),
        ({"--block-size": 32}, "engine.args.--block-size: vLLM has no such argument. Do you mean block_size?"),
        ({"zzz": 32}, "engine.args.zzz: vLLM has no such argument"),
        ({"hf_tokn": "s3cret"}, "Do you mean hf_token? (not allowed, because models come whole and verified"),
        ({"block_size": "32"}, "engine.args.block_size: Input should be a valid integer"),
        ({"seed": 1.5}, "engine.args.seed: Input should be a valid integer"),
        ({"use_tqdm_on_load": 1}, "engine.args.use_tqdm_on_load: Input should be a valid boolean"),
        ({"mm_encoder_tp_mode": "s3cret"}, "Input should be 'weights' or 'data'"),
        ({"attention_backend": "s3cret"}, "engine.args.attention_backend: it must be one of FLASH_ATTN, "),
        ({"compilation_config": {"mood": 0}}, "engine.args.compilation_config: mood: Unexpected keyword argument"),
    ],
)
def test_a_wrong_argument_is_told_by_its_key_and_never_shown(args: dict[str, Any], said: str) -> None:
    message = problems(args)
    assert said in message
    assert "s3cret" not in message


def test_all_wrong_keys_are_told_at_once() -> None:
    said = problems({"blok_size": 1, "seed": "x"}, quantization="fp3", kv_cache_dtype="int3").splitlines()
    assert [line.split(":")[0] for line in said] == [
        "engine.quantization = 'fp3'",
        "engine.kv_cache_dtype = 'int3'",
        "engine.args.blok_size",
        "engine.args.seed",
    ]
    assert "fp8" in said[0]
    assert "fp8" in said[1]


def test_a_worker_with_too_few_gpus_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    from services.worker.engine.vllm import arguments

    monkeypatch.setattr(arguments, "_gpus", lambda: 2)
    assert "needs" not in read({}, tensor_parallel=2)
    said = problems({}, tensor_parallel=2, pipeline_parallel=2)
    assert said == (
        "engine.tensor_parallel = 2 x pipeline_parallel = 2: a worker would need 4 GPUs, and this one sees 2"
    )


def test_a_wrong_argument_stops_the_worker(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Its main function, in this process, which has imported vLLM: a new process needs ten seconds of CPU for that."""
    from services.shared import process
    from services.worker.__main__ import main

    engine = {"kind": "vllm", "args": {"blok_size": 32, "hf_tokn": "s3cret"}}
    config = tmp_path / "tidegate.yaml"
    config.write_text(yaml.safe_dump({"pools": [{"name": "tide", "model": "m", "engine": engine}]}))
    settings = {
        "CONFIG": str(config),
        "LISTEN": "127.0.0.1:0",
        "HTTP_LISTEN": "127.0.0.1:0",
        "POOL": "tide",
        "ROUTERS": "127.0.0.1:9",
        "CACHE_DIR": str(tmp_path),
        "S3_ENDPOINT": "http://127.0.0.1:9",
        "S3_ACCESS_KEY": "none",
        "S3_SECRET_KEY": "none",
        "TRUSTED_KEYS": KEY.public,
    }
    for name, value in settings.items():
        monkeypatch.setenv(f"TIDEGATE_{name}", value)
    monkeypatch.setattr(sys, "argv", ["services.worker"])
    # It would take the place of pytest's own logging for good.
    monkeypatch.setattr(process, "configure_logging", lambda *_: None)
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code == 2
    out, err = capfd.readouterr()
    assert "wrong configuration:\npools.tide.engine.args.blok_size: vLLM has no such argument" in err
    assert "pools.tide.engine.args.hf_tokn: " in err
    assert "s3cret" not in out + err + caplog.text
