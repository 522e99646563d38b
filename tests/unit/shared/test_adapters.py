"""Which LoRA adapters can be served."""

import json
from pathlib import Path
from typing import Any

import pytest

from services.shared.adapters import WrongAdapter, check_manifest, check_rank, rank_of, read_rank
from tests.unit.worker.models import manifest_of

PLAIN: dict[str, Any] = {"peft_type": "LORA", "r": 8, "lora_alpha": 16, "target_modules": ["q_proj"]}


@pytest.mark.parametrize(
    ("config", "rank"),
    [
        ({}, 8),
        ({"rank_pattern": {"down_proj": 32}}, 32),
        ({"rank_pattern": None, "use_rslora": True, "init_lora_weights": "gaussian", "bias": "none"}, 8),
        ({"target_modules": "all-linear", "modules_to_save": None, "task_type": "CAUSAL_LM"}, 8),
    ],
)
def test_the_largest_rank_counts(config: dict[str, Any], rank: int) -> None:
    assert rank_of(PLAIN | config) == rank


@pytest.mark.parametrize(
    ("config", "field"),
    [
        ({"peft_type": "ADALORA"}, "peft_type"),
        ({"use_dora": True}, "use_dora"),
        ({"bias": "all"}, "bias"),
        ({"lora_bias": True}, "lora_bias"),
        ({"modules_to_save": ["embed_tokens"]}, "modules_to_save"),
        ({"trainable_token_indices": [3]}, "trainable_token_indices"),
        ({"init_lora_weights": "pissa"}, "init_lora_weights"),
        ({"alora_invocation_tokens": [1]}, "alora_invocation_tokens"),
        ({"layer_replication": [[0, 1]]}, "layer_replication"),
        ({"use_qalora": True}, "use_qalora"),
        ({"task_type": "SEQ_CLS"}, "task_type"),
        ({"target_modules": None}, "target_modules"),
        ({"lora_alpha": "16"}, "lora_alpha"),
        ({"r": 0}, "rank"),
        ({"r": True}, "rank"),
        ({"rank_pattern": {"q_proj": "8"}}, "rank"),
        ({"rank_pattern": [8]}, "rank_pattern"),
    ],
)
def test_what_engines_do_not_apply_is_refused_by_name(config: dict[str, Any], field: str) -> None:
    with pytest.raises(WrongAdapter, match=field):
        rank_of(PLAIN | config)


@pytest.mark.parametrize(
    ("content", "words"), [("[", "is not JSON"), ("[]", "not a JSON object"), (None, "is missing")]
)
def test_a_file_that_is_no_config_is_refused(tmp_path: Path, content: str | None, words: str) -> None:
    if content is not None:
        (tmp_path / "adapter_config.json").write_text(content)
    with pytest.raises(WrongAdapter, match=words):
        read_rank(tmp_path)
    (tmp_path / "adapter_config.json").write_text(json.dumps(PLAIN))
    assert read_rank(tmp_path) == 8


def test_an_adapter_is_for_one_version_of_one_model() -> None:
    base, other = manifest_of({"model.safetensors": b"a"}), manifest_of({"model.safetensors": b"b"})
    files = {"adapter_config.json": b"{}", "adapter_model.safetensors": b""}
    adapter = manifest_of(files, "tone").model_copy(update={"kind": "adapter", "base": f"tide@{base.version}"})
    check_manifest(adapter, base)
    with pytest.raises(WrongAdapter, match=f"it is for tide@{base.version[:12]}"):
        check_manifest(adapter, other)
    with pytest.raises(WrongAdapter, match="a whole model"):
        check_manifest(base, base)
    more = manifest_of(files | {"model.safetensors": b""}).model_copy(update={"kind": "adapter", "base": adapter.base})
    with pytest.raises(WrongAdapter, match="its files are"):
        check_manifest(more, base)


def test_a_rank_above_the_setting_names_the_setting() -> None:
    check_rank(16, 16)
    with pytest.raises(WrongAdapter, match=r"adapters\.max_rank"):
        check_rank(17, 16)
