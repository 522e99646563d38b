"""What tidegate.yaml says becomes what vLLM is told."""

from dataclasses import replace
from pathlib import Path

import pytest

from services.shared.config import Draft, Ngram, Suffix, VllmEngine
from services.worker.engine.vllm.options import engine_arguments, speculative_config
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


def test_a_draft_is_the_staged_folder() -> None:
    draft = Draft(method="eagle", model="draft", tokens=2)
    assert speculative_config(draft, replace(MODEL, draft=Path("drafts")))["model"] == "drafts"
    with pytest.raises(ValueError, match="none was staged"):
        speculative_config(draft, MODEL)
