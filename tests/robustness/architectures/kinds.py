"""The kinds of models that the drill serves: tiny ones, made from configurations, with random weights."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

VOCABULARY = 512
CONTEXT = 256
_SPREAD = 0.3
"""Standard deviation of the weights. With the usual 0.02 all tokens of a tiny model are about equally likely."""
_SPECIAL = ("<pad>", "<s>", "</s>")
_PAD, _BEGIN, _END = range(3)
TEMPLATE = (
    "{{ bos_token }}{% for message in messages %}[{{ message.role }}] {{ message.content }}\n{% endfor %}"
    "{% if add_generation_prompt %}[assistant] {% endif %}"
)


_COMMON = {
    "vocab_size": VOCABULARY,
    "max_position_embeddings": CONTEXT,
    "initializer_range": _SPREAD,
    "tie_word_embeddings": False,
    "pad_token_id": _PAD,
    "bos_token_id": _BEGIN,
    "eos_token_id": _END,
}
_SIZES = {
    "hidden_size": 64,
    "intermediate_size": 128,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "num_key_value_heads": 1,
    "head_dim": 32,
}
_GPT2 = {"n_embd": 64, "n_layer": 2, "n_head": 2}
_TIED = {"tie_word_embeddings": True}
_WINDOW = {"sliding_window": 32}
_EXPERTS = {"num_experts_per_tok": 2}


@dataclass(frozen=True, slots=True)
class Kind:
    """One kind of model.

    Attributes:
        name: What people call it; also the name of the model in the registry.
        architecture: The class of transformers, which has the name of vLLM's.
        config: The class of its configuration.
        sizes: The sizes of its parts.
        changes: What its configuration has beside or instead of the common settings.
        spread: Standard deviation of what is added to norms and biases. They begin as ones and zeros, which would be
            the same in all versions. Gemma's embeddings are large; with small norms it repeats its last token.
        chats: It has a chat template.
    """

    name: str
    architecture: str
    config: str
    changes: dict[str, Any] = field(default_factory=dict)
    sizes: dict[str, int] = field(default_factory=_SIZES.copy)
    spread: float = _SPREAD
    chats: bool = True

    @property
    def settings(self) -> dict[str, Any]:
        """The arguments of its configuration."""
        return {**_COMMON, **self.sizes, **self.changes}


KINDS = (
    Kind("llama", "LlamaForCausalLM", "LlamaConfig"),
    Kind("qwen2", "Qwen2ForCausalLM", "Qwen2Config", _TIED),
    Kind("qwen3", "Qwen3ForCausalLM", "Qwen3Config"),
    Kind("gemma2", "Gemma2ForCausalLM", "Gemma2Config", {**_TIED, **_WINDOW}, spread=3.0),
    Kind("gemma3", "Gemma3ForCausalLM", "Gemma3TextConfig", {**_TIED, **_WINDOW}, spread=3.0),
    Kind("mistral", "MistralForCausalLM", "MistralConfig", _WINDOW),
    Kind("gpt2", "GPT2LMHeadModel", "GPT2Config", _TIED, sizes=_GPT2, chats=False),
    Kind("mixtral", "MixtralForCausalLM", "MixtralConfig", {**_EXPERTS, "num_local_experts": 4}),
    Kind(
        "qwen3-moe",
        "Qwen3MoeForCausalLM",
        "Qwen3MoeConfig",
        {**_EXPERTS, "num_experts": 4, "moe_intermediate_size": 64, "norm_topk_prob": True},
    ),
)


def make(kind: Kind, folder: Path, seed: int) -> Path:
    """Writes a model of this kind with weights of this seed into `folder`, and returns the folder.

    All versions have the same tokenizer: a token for each byte.
    """
    import torch
    import transformers

    _tokenizer(chats=kind.chats).save_pretrained(folder)
    transformers.set_seed(seed)
    config = getattr(transformers, kind.config)(**kind.settings)
    model = getattr(transformers, kind.architecture)(config)
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.dim() == 1:
                parameter.add_(torch.randn_like(parameter) * kind.spread)
    model.to(torch.float32).save_pretrained(folder)
    return folder


def _tokenizer(*, chats: bool) -> Any:
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors
    from transformers import PreTrainedTokenizerFast

    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    vocabulary = {token: number for number, token in enumerate([*_SPECIAL, *alphabet])}
    tokens = Tokenizer(models.BPE(vocabulary, []))
    tokens.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokens.decoder = decoders.ByteLevel()
    if chats:
        tokens.post_processor = processors.TemplateProcessing(single="<s> $A", special_tokens=[("<s>", _BEGIN)])
    made = PreTrainedTokenizerFast(tokenizer_object=tokens, pad_token="<pad>", bos_token="<s>", eos_token="</s>")
    if chats:
        made.chat_template = TEMPLATE
    return made
