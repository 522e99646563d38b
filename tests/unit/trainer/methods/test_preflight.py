"""What is refused before the first step, with the key, its value and a way out."""

from types import SimpleNamespace
from typing import Any

import pytest

from services.shared.manifests import Manifest
from tests.unit.shared.test_manifests import manifest
from trainer.errors import Unfit
from trainer.learning_recipe import Adapter, LearningRecipe
from trainer.methods import preflight
from trainer.recipe import Recipe
from trainer.recipe_file import parse

LAYERS = {
    "model.embed_tokens": True,
    "model.layers.0": False,
    "model.layers.0.self_attn.q_proj": True,
    "model.layers.0.mlp.up_proj": True,
    "model.norm": False,
    "lm_head": True,
}


def recipe(**changed: Any) -> Recipe:
    given = {"base": "tiny", "method": "sft", "data": "chats.jsonl", "steps": 3, "learning_rate": 0.001}
    return parse({**given, **changed})


def adapter_manifest() -> Manifest:
    return manifest(kind="adapter", base="other@" + "a" * 64)


def speculator_manifest() -> Manifest:
    target = {"target": "other@" + "a" * 64, "vocab_size": 9, "tokenizer_sha256": "b" * 64}
    return manifest(kind="speculator", speculates={**target, "method": "draft_model", "tokens": 3})


@pytest.mark.parametrize(
    ("base", "told"),
    [
        (manifest(context_tokens=512), "max_length = 1024: tiny has a context of 512 tokens"),
        (
            adapter_manifest(),
            "base = 'tiny': it is an adapter, which can be trained no further. Name its model, other@",
        ),
        (speculator_manifest(), "it is a speculator, which drafts for other@a"),
        (manifest(architecture="Qwen3ForSequenceClassification"), "it is a reward model .* gives numbers and no text"),
    ],
)
def test_what_the_registry_knows_of_a_base_is_checked(base: Manifest, told: str) -> None:
    with pytest.raises(Unfit, match=told):
        preflight.check_manifest(recipe(), base)
    preflight.check_manifest(recipe(), manifest(context_tokens=1024))


@pytest.mark.parametrize(
    ("has_gpu", "has_bitsandbytes", "told"),
    [(False, True, "this machine has no GPU"), (True, False, "has no bitsandbytes"), (True, True, None)],
)
def test_four_bits_need_a_gpu_and_their_library(has_gpu: bool, has_bitsandbytes: bool, told: str | None) -> None:
    wanted = recipe(load_in_4bit=True, adapter={}, dtype="bfloat16")
    assert isinstance(wanted, LearningRecipe)
    machine = {"has_gpu": has_gpu, "has_bitsandbytes": has_bitsandbytes}
    if told is None:
        preflight.check_machine(wanted, **machine)
        return
    with pytest.raises(Unfit, match=f"load_in_4bit is true, and this machine .*{told.split()[-1]}"):
        preflight.check_machine(wanted, **machine)


def test_a_quantized_base_is_refused() -> None:
    with pytest.raises(Unfit, match=r"base = 'tiny': its weights are quantized \(gptq\)"):
        preflight.check_config(recipe(), {"quantization_config": {"quant_method": "gptq"}})
    preflight.check_config(recipe(), {})


def test_a_base_without_a_chat_template_is_refused() -> None:
    with pytest.raises(Unfit, match=r"base = 'tiny': it has no chat template.* chat_template\.jinja"):
        preflight.check_template(recipe(), None)
    preflight.check_template(recipe(), "{{ messages }}")


@pytest.mark.parametrize(
    ("targets", "tied", "told"),
    [
        (["q_prj"], False, r"'q_prj' does not exist. Those that can: embed_tokens, lm_head, q_proj, up_proj"),
        (["norm"], False, "'norm' cannot have an adapter"),
        (["proj"], False, "'proj' does not exist"),
        (["q_proj", "embed_tokens"], True, "the base ties embed_tokens to its output layer"),
        (["lm_head"], False, "an adapter there would learn nothing"),
    ],
)
def test_targets_that_lead_nowhere_are_refused(targets: list[str], tied: bool, told: str) -> None:
    adapter = Adapter.model_validate({"targets": targets})
    with pytest.raises(Unfit, match=r"adapter\.targets = ") as error:
        preflight.check_targets(adapter, LAYERS, tied=tied)
    assert told in str(error.value)


@pytest.mark.parametrize("targets", ["all-linear", ["q_proj"], ["layers.0.mlp.up_proj"], ["embed_tokens"]])
def test_targets_that_are_there_are_taken(targets: object) -> None:
    preflight.check_targets(Adapter.model_validate({"targets": targets}), LAYERS, tied=targets == "all-linear")


@pytest.mark.parametrize(
    ("tokens", "token", "told"),
    [
        ({"pad_token": "<pad>"}, "<pad>", None),
        ({}, "</s>", "its eos_token, '</s>'"),
        ({"eos_token": None}, "<unk>", "its unk_token, '<unk>'"),
    ],
)
def test_the_token_that_fills_rows(tokens: dict[str, str | None], token: str, told: str | None) -> None:
    given = {"pad_token": None, "eos_token": "</s>", "unk_token": "<unk>", **tokens}
    found, note = preflight.padding(SimpleNamespace(**given))
    assert found == token
    assert (told in note) if told and note else note is None


def test_a_tokenizer_without_any_such_token_is_refused() -> None:
    with pytest.raises(Unfit, match=r"tokenizer_config\.json"):
        preflight.padding(SimpleNamespace(pad_token=None, eos_token=None, unk_token=None))
