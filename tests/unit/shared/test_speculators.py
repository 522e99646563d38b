"""Which speculators fit a pool."""

import re
from typing import Any

import pytest

from services.shared.manifests import DraftMethod, File, Manifest, Speculates, make
from services.shared.speculators import draft_length, misfit

KEY = "pools.tide.engine.speculation"
OTHER = f"sea@{'e' * 64}"


def manifest(**changed: Any) -> Manifest:
    fields: dict[str, Any] = {
        "model": "tide",
        "created": 1,
        "architecture": "LlamaForCausalLM",
        "context_tokens": 128,
        "vocab_size": 16,
        "files": (File(name="model.safetensors", size=3, sha256="a" * 64),),
        "weights_sha256": "b" * 64,
        "tokenizer_sha256": "c" * 64,
        "source": "a test",
    }
    return make(**{**fields, **changed})


def drafter(**changed: Any) -> Manifest:
    fields: dict[str, Any] = {
        "target": f"tide@{'e' * 64}",
        "vocab_size": 16,
        "tokenizer_sha256": "c" * 64,
        "method": "draft_model",
        "tokens": 2,
    }
    return manifest(model="draft", kind="speculator", speculates=Speculates(**{**fields, **changed}))


@pytest.mark.parametrize("fitting", [drafter(), manifest(model="draft")])
def test_what_was_made_for_the_pools_model_fits_it_whatever_its_version(fitting: Manifest) -> None:
    assert misfit(KEY, "draft_model", fitting, manifest(source="another version")) is None


@pytest.mark.parametrize(
    ("wrong", "method", "said"),
    [
        (drafter(), "eagle", r"method = 'eagle', and draft@\w{12} was made for 'draft_model': set that"),
        (drafter(target=OTHER), "draft_model", r"model = draft@\w{12} drafts for sea.* --target tide"),
        (drafter(tokenizer_sha256="d" * 64), "draft_model", r"model .* another tokenizer .* --target tide"),
        (drafter(vocab_size=17), "draft_model", r"another tokenizer \(17 tokens\) .* leave pools\.tide"),
        (manifest(model="d", vocab_size=17), "draft_model", r"model = d@\w{12} has a vocabulary of 17 .* name"),
        (manifest(kind="adapter", base=OTHER), "eagle", r"is an adapter: name a draft model"),
    ],
)
def test_what_does_not_fit_is_told_with_its_key_and_a_way_out(wrong: Manifest, method: DraftMethod, said: str) -> None:
    reason = misfit(KEY, method, wrong, manifest())
    assert reason
    assert re.search(said, reason), reason
    assert reason.startswith(KEY)


def test_the_pool_decides_about_the_number_of_tokens_then_the_speculator() -> None:
    assert draft_length(5, drafter()) == 5
    assert draft_length(None, drafter()) == 2
    assert draft_length(None, manifest()) == draft_length(None, None) == 3
