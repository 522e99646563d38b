"""The files of real repositories of the hub, by name. Shards in the middle are left out where they are many."""

from dataclasses import dataclass, field


@dataclass(frozen=True)
class Repository:
    """Files of a repository, and those of them that make up its model. `shards`: how many the index names."""

    architecture: str
    files: tuple[str, ...]
    taken: tuple[str, ...]
    shards: int = 0
    config: dict[str, object] = field(default_factory=dict)

    @property
    def weights(self) -> list[str]:
        return [f"model-{number:05}-of-{self.shards:06}.safetensors" for number in range(1, self.shards + 1)]

    @property
    def names(self) -> set[str]:
        return {*self.files, *self.taken, *self.weights}


INDEX = "model.safetensors.index.json"
QWEN_TOKENIZER = ("merges.txt", "tokenizer.json", "tokenizer_config.json", "vocab.json")
COMMON = (".gitattributes", "README.md")

REPOSITORIES = {
    "Qwen/Qwen3-32B": Repository(
        "Qwen3ForCausalLM",
        COMMON,
        ("LICENSE", "config.json", "generation_config.json", INDEX, *QWEN_TOKENIZER),
        shards=17,
    ),
    "mistralai/Mistral-7B-Instruct-v0.3": Repository(
        "MistralForCausalLM",
        (*COMMON, "consolidated.safetensors", "params.json", "tokenizer.model.v3"),
        (
            "config.json",
            "generation_config.json",
            INDEX,
            "special_tokens_map.json",
            "tokenizer.json",
            "tokenizer.model",
            "tokenizer_config.json",
        ),
        shards=3,
    ),
    "mistralai/Mistral-Small-3.1-24B-Instruct-2503": Repository(
        "Mistral3ForConditionalGeneration",
        (*COMMON, "SYSTEM_PROMPT.txt", "consolidated.safetensors", "params.json"),
        (
            "chat_template.json",
            "config.json",
            "generation_config.json",
            INDEX,
            "preprocessor_config.json",
            "processor_config.json",
            "special_tokens_map.json",
            "tekken.json",
            "tokenizer.json",
            "tokenizer_config.json",
        ),
        shards=10,
    ),
    "google/gemma-2-2b-it": Repository(
        "Gemma2ForCausalLM",
        COMMON,
        (
            "config.json",
            "generation_config.json",
            INDEX,
            "special_tokens_map.json",
            "tokenizer.json",
            "tokenizer.model",
            "tokenizer_config.json",
        ),
        shards=2,
    ),
    "google/gemma-3-4b-it": Repository(
        "Gemma3ForConditionalGeneration",
        COMMON,
        (
            "added_tokens.json",
            "chat_template.json",
            "config.json",
            "generation_config.json",
            INDEX,
            "preprocessor_config.json",
            "processor_config.json",
            "special_tokens_map.json",
            "tokenizer.json",
            "tokenizer.model",
            "tokenizer_config.json",
        ),
        shards=2,
    ),
    "deepseek-ai/DeepSeek-V3": Repository(
        "DeepseekV3ForCausalLM",
        (
            *COMMON,
            "LICENSE-CODE",
            "LICENSE-MODEL",
            "README_WEIGHTS.md",
            "configuration_deepseek.py",
            "figures/benchmark.png",
            "inference/configs/config_671B.json",
            "inference/convert.py",
            "inference/model.py",
            "modeling_deepseek.py",
        ),
        ("config.json", INDEX, "tokenizer.json", "tokenizer_config.json"),
        shards=163,
        config={"auto_map": {"AutoModelForCausalLM": "modeling_deepseek.DeepseekV3ForCausalLM"}},
    ),
    "Qwen/Qwen2.5-VL-7B-Instruct": Repository(
        "Qwen2_5_VLForConditionalGeneration",
        COMMON,
        (
            "chat_template.json",
            "config.json",
            "generation_config.json",
            INDEX,
            "preprocessor_config.json",
            *QWEN_TOKENIZER,
        ),
        shards=5,
    ),
    "Qwen/Qwen3-Embedding-0.6B": Repository(
        "Qwen3ForCausalLM",
        COMMON,
        (
            "1_Pooling/config.json",
            "config.json",
            "config_sentence_transformers.json",
            "generation_config.json",
            "model.safetensors",
            "modules.json",
            *QWEN_TOKENIZER,
        ),
    ),
    "openai-community/gpt2": Repository(
        "GPT2LMHeadModel",
        (
            *COMMON,
            "64.tflite",
            "flax_model.msgpack",
            "onnx/decoder_model.onnx",
            "onnx/config.json",
            "pytorch_model.bin",
            "rust_model.ot",
            "tf_model.h5",
        ),
        ("config.json", "generation_config.json", "model.safetensors", *QWEN_TOKENIZER),
    ),
}


def contents(repository: Repository) -> dict[str, dict[str, object]]:
    """Its JSON documents, as far as they matter."""
    config: dict[str, object] = {
        "architectures": [repository.architecture],
        "max_position_embeddings": 64,
        "vocab_size": 32,
        **repository.config,
    }
    others: dict[str, dict[str, object]] = {name: {} for name in repository.taken if name.endswith("config.json")}
    return {**others, "config.json": config}
