"""Models that cannot be merged are refused, with what is different and a way out."""

from typing import Any

import pytest

from services.shared.manifests import File, Manifest, make
from trainer.errors import Unfit
from trainer.methods.relatives import check_config, check_shapes, check_tokens, check_version

SHA = "0" * 64
CONFIG = {"rope_theta": 10000.0, "num_attention_heads": 4, "eos_token_id": 3, "_name_or_path": "x"}


def manifest(**changed: Any) -> Manifest:
    fields = {
        "model": "tiny",
        "created": 1,
        "architecture": "LlamaForCausalLM",
        "context_tokens": 64,
        "vocab_size": 18,
        "files": (File(name="config.json", size=1, sha256=SHA),),
        "weights_sha256": SHA,
        "tokenizer_sha256": SHA,
        "source": "a test",
    }
    return make(**{**fields, **changed})


@pytest.mark.parametrize(
    ("changed", "told"),
    [
        ({"kind": "adapter", "base": f"tiny@{SHA}"}, "^other: it is an adapter.* Name the model that its run"),
        ({"architecture": "LlamaForSequenceClassification"}, "^other: it is a reward model"),
        ({"architecture": "Qwen3ForCausalLM"}, "^other: its architecture is Qwen3.* Merge models that were trained"),
        ({"vocab_size": 19}, "^other: its vocabulary has 19 tokens, and that of the base has 18"),
    ],
)
def test_another_version(changed: dict[str, Any], told: str) -> None:
    check_version("other", manifest(source="another"), manifest())
    with pytest.raises(Unfit, match=told):
        check_version("other", manifest(**changed), manifest())


@pytest.mark.parametrize(
    ("changed", "told"),
    [
        ({"quantization_config": {"quant_method": "awq"}}, "^other: its weights are quantized. Merge the models"),
        ({"num_attention_heads": 8}, "^other: config.json has num_attention_heads = 8, and the base has 4"),
        ({"rope_scaling": {"factor": 2}}, "rope_scaling = {'factor': 2}, and the base has None"),
    ],
)
def test_another_config(changed: dict[str, Any], told: str) -> None:
    check_config("other", CONFIG | {"eos_token_id": 5, "_name_or_path": "y", "rope_scaling": None}, CONFIG)
    with pytest.raises(Unfit, match=told):
        check_config("other", CONFIG | changed, CONFIG)


@pytest.mark.parametrize(
    ("shapes", "told"),
    [
        ({"a": (2, 3)}, "^other: it has no tensor b, and the base has one"),
        ({"a": (2, 3), "b": (4,), "c": (1,)}, "^other: it has a tensor c, and the base has none"),
        ({"a": (3, 2), "b": (4,)}, r"^other: its tensor a has the shape \[3, 2\], that of the base \[2, 3\]"),
    ],
)
def test_other_tensors(shapes: dict[str, tuple[int, ...]], told: str) -> None:
    base = {"a": (2, 3), "b": (4,)}
    check_shapes("other", dict(base), base)
    with pytest.raises(Unfit, match=told):
        check_shapes("other", shapes, base)


@pytest.mark.parametrize(
    ("tokens", "told"),
    [
        (
            {"tide": 1, "moon": 0},
            "in its tokenizer 'moon' has the number 0, and in that of the base it has the number 1",
        ),
        ({"tide": 0}, "in its tokenizer 'moon' is missing, and in that of the base it has the number 1"),
    ],
)
def test_another_tokenizer(tokens: dict[str, int], told: str) -> None:
    base = {"tide": 0, "moon": 1}
    check_tokens("other", dict(base), base)
    with pytest.raises(Unfit, match=told):
        check_tokens("other", tokens, base)
