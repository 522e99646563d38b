"""What tidegate.yaml says becomes what vLLM is told."""

from dataclasses import replace
from pathlib import Path

import pytest

from services.shared.engine_settings import Draft, Mtp, Ngram, Suffix, VllmEngine
from services.shared.vllm_args import refusal
from services.worker.engine.contract import Drafter
from services.worker.engine.node import Node
from services.worker.engine.vllm.options import SCHEDULER, engine_arguments, speculative_config
from tests.unit.worker.models import simulated_model

MODEL = simulated_model()


def test_the_model_comes_from_its_folder_and_runs_no_code_of_its_own() -> None:
    arguments = engine_arguments(VllmEngine(), MODEL)
    assert arguments["model"] == arguments["tokenizer"] == str(MODEL.folder)
    assert arguments["trust_remote_code"] is False
    assert arguments["load_format"] == "safetensors"


def test_limits_and_sizes() -> None:
    config = VllmEngine(max_running=7, step_tokens=128, kv_memory_gib=0.5, context_tokens=64, compile=True)
    arguments = engine_arguments(config, MODEL)
    assert (arguments["max_num_seqs"], arguments["max_num_batched_tokens"]) == (7, 128)
    assert arguments["kv_cache_memory_bytes"] == 2**29
    assert arguments["max_model_len"] == 64
    assert arguments["enforce_eager"] is False


def test_a_model_can_be_in_several_parts() -> None:
    config = VllmEngine(tensor_parallel=2, pipeline_parallel=3, expert_parallel=True)
    arguments = engine_arguments(config, MODEL)
    assert (arguments["tensor_parallel_size"], arguments["pipeline_parallel_size"]) == (2, 3)
    assert arguments["enable_expert_parallel"] is True
    assert arguments["distributed_executor_backend"] == "mp"


def test_a_node_says_which_it_is_and_where_the_nodes_meet() -> None:
    node = Node(rank=1, nodes=2, master="rank-0", port=4711, address="10.0.0.2")
    arguments = engine_arguments(VllmEngine(pipeline_parallel=2, nodes=2), MODEL, node)
    assert (arguments["nnodes"], arguments["node_rank"]) == (2, 1)
    assert (arguments["master_addr"], arguments["master_port"]) == ("rank-0", 4711)
    assert arguments["distributed_executor_backend"] == "mp"
    alone = engine_arguments(VllmEngine(pipeline_parallel=2), MODEL)
    assert alone.keys().isdisjoint(("nnodes", "node_rank", "master_addr", "master_port"))


def test_what_is_not_set_is_vllms_choice() -> None:
    chosen = ("max_model_len", "kv_cache_memory_bytes", "gpu_memory_utilization", "distributed_executor_backend")
    others = ("quantization", "kv_cache_dtype", "kv_offloading_size", "limit_mm_per_prompt", "speculative_config")
    assert engine_arguments(VllmEngine(), MODEL).keys().isdisjoint((*chosen, *others))


def test_memory_and_data_types() -> None:
    config = VllmEngine(
        gpu_memory_utilization=0.5, quantization="fp8", kv_cache_dtype="fp8", kv_offload_gib=4, media={"image": 0}
    )
    arguments = engine_arguments(config, MODEL)
    assert (arguments["gpu_memory_utilization"], arguments["kv_offloading_size"]) == (0.5, 4)
    assert (arguments["quantization"], arguments["kv_cache_dtype"]) == ("fp8", "fp8")
    assert arguments["limit_mm_per_prompt"] == {"image": 0}


def test_other_arguments_travel_under_their_own_names() -> None:
    arguments = engine_arguments(VllmEngine(args={"block_size": 32, "seed": 7}), MODEL)
    assert (arguments["block_size"], arguments["seed"]) == (32, 7)


def test_no_argument_that_is_set_here_can_be_set_in_args() -> None:
    speculation = Ngram(method="ngram")
    full = VllmEngine(
        context_tokens=64,
        kv_memory_gib=1,
        tensor_parallel=2,
        quantization="fp8",
        kv_cache_dtype="fp8",
        kv_offload_gib=1,
        media={"image": 1},
        speculation=speculation,
    )
    sized = VllmEngine(gpu_memory_utilization=0.5)
    node = Node(rank=0, nodes=2, master="rank-0", port=4711, address="10.0.0.1")
    names = engine_arguments(full, MODEL, node).keys() | engine_arguments(sized, MODEL).keys()
    assert [name for name in names if refusal(name) is None] == []


def test_without_a_context_the_models_own_counts() -> None:
    assert "max_model_len" not in engine_arguments(VllmEngine(), MODEL)


def test_ngram_and_suffix_speculation_need_no_model() -> None:
    assert speculative_config(Ngram(method="ngram", tokens=4, lookup_max=3, lookup_min=1), MODEL) == {
        "method": "ngram",
        "num_speculative_tokens": 4,
        "prompt_lookup_max": 3,
        "prompt_lookup_min": 1,
    }
    assert speculative_config(Suffix(method="suffix"), MODEL)["method"] == "suffix"
    assert speculative_config(Ngram(method="ngram_gpu"), MODEL)["method"] == "ngram_gpu"


def test_layers_of_the_checkpoint_itself_need_no_other_model() -> None:
    assert speculative_config(Mtp(method="mtp", tokens=2), MODEL) == {"method": "mtp", "num_speculative_tokens": 2}


def test_a_draft_is_the_staged_folder() -> None:
    draft = Draft(method="eagle", model="draft", tokens=2)
    drafter = Drafter(Path("drafts"), MODEL.manifest)
    assert speculative_config(draft, replace(MODEL, draft=drafter))["model"] == "drafts"
    with pytest.raises(ValueError, match="none was staged"):
        speculative_config(draft, MODEL)


def test_switched_drafts_need_vllms_table_and_our_scheduler() -> None:
    plain = VllmEngine(max_running=7, speculation=Ngram(method="ngram", tokens=4))
    assert "scheduler_cls" not in engine_arguments(plain, MODEL)
    switched = VllmEngine(max_running=7, speculation=Ngram(method="ngram", tokens=4, adaptive=True))
    arguments = engine_arguments(switched, MODEL)
    assert arguments["speculative_config"]["num_speculative_tokens_per_batch_size"] == [(1, 7, 4)]
    assert arguments["scheduler_cls"] == SCHEDULER
