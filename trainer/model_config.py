"""What a model's configuration says: whether a pool can serve it, its sizes, and whether it asks for code of its own.

Pure: contents of files go in.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from services.shared.architectures import SIMULATED, Architectures, Task, is_scorer
from services.shared.remote_code import code_key, is_configuration, without_code
from trainer.errors import WrongCheckpoint
from trainer.selection import CONFIG, Selection


@dataclass(frozen=True, slots=True)
class ModelConfig:
    """config.json."""

    document: dict[str, Any]

    @property
    def architecture(self) -> str:
        """Name of the model class, for example LlamaForCausalLM."""
        return str(self.document["architectures"][0])

    @property
    def context_tokens(self) -> int:
        """Most tokens of prompt and answer together."""
        return self._number(
            "max_position_embeddings", "n_positions", "seq_length", "max_seq_len", "max_sequence_length"
        )

    @property
    def vocab_size(self) -> int:
        """Number of tokens that the model knows."""
        return self._number("vocab_size")

    @property
    def packed_bits(self) -> int | None:
        """Bits of a weight of a quantized model, the fewest that it has; None if it is not quantized.

        Formats name them differently, and those with one width do not name it: then it is four.
        """
        found = self.document.get("quantization_config")
        if not isinstance(found, dict):
            return None
        groups = found.get("config_groups")
        parts = [found, *(groups.values() if isinstance(groups, dict) else ())]
        parts += [part["weights"] for part in parts if isinstance(part, dict) and isinstance(part.get("weights"), dict)]
        named = [part.get(key) for part in parts if isinstance(part, dict) for key in ("bits", "num_bits")]
        return min((bits for bits in named if isinstance(bits, int) and bits > 0), default=4)

    def _number(self, *keys: str) -> int:
        """Multimodal models keep the language model's figures in `text_config` or `llm_config`."""
        for part in (self.document, *(self.document.get(name) for name in ("text_config", "llm_config"))):
            for key in keys:
                if isinstance(part, dict) and isinstance(value := part.get(key), int) and value > 0:
                    return value
        raise WrongCheckpoint(f"{CONFIG} lacks a positive number for {' or '.join(keys)}")


@dataclass(frozen=True, slots=True)
class Examined:
    """What was found.

    Attributes:
        config: config.json, as it will be published.
        rewritten: Files whose content is changed before they are published, with the new content.
        warnings: What people should know, one sentence each.
    """

    config: ModelConfig
    rewritten: Mapping[str, bytes] = field(default_factory=dict)
    warnings: tuple[str, ...] = ()


def documents_of(selection: Selection) -> list[str]:
    """The files whose content `examine` wants."""
    return [CONFIG, *(name for name in selection.names if is_configuration(name) and name != CONFIG)]


def examine(
    selection: Selection, contents: Mapping[str, bytes], architectures: Architectures, *, scores: bool = False
) -> Examined:
    """Checks the configuration of a model whose files are known to be complete.

    Args:
        selection: The model's files.
        contents: Content of each file of `documents_of(selection)`.
        architectures: What vLLM has code for.
        scores: Whether it may be a reward model, which no pool serves.

    Raises:
        WrongCheckpoint: A pool could not serve the model, or it needs code of its own.
    """
    parsed = {name: _object(name, contents.get(name)) for name in documents_of(selection)}
    config = ModelConfig(parsed[CONFIG])
    if not isinstance(named := config.document.get("architectures"), list) or not named:
        raise WrongCheckpoint(f"{CONFIG} names no architecture (key: architectures)")
    task = architectures.task(config.architecture)
    rewritten, warnings = _without_code(selection, parsed, task, config.architecture)
    if not (scores and is_scorer(config.architecture)):
        warnings += _servable(selection, config, architectures)
    _ = config.context_tokens, config.vocab_size
    changed = ModelConfig(json.loads(rewritten[CONFIG])) if CONFIG in rewritten else config
    return Examined(changed, rewritten, tuple(warnings))


def _object(name: str, content: bytes | None) -> dict[str, Any]:
    if content is None:
        raise WrongCheckpoint(f"{name} is missing")
    try:
        document = json.loads(content)
    except (ValueError, RecursionError) as error:
        raise WrongCheckpoint(f"{name} is not JSON: {error}") from None
    if not isinstance(document, dict):
        raise WrongCheckpoint(f"{name} is not a JSON object")
    return document


def _without_code(
    selection: Selection, parsed: Mapping[str, dict[str, Any]], task: Task | None, architecture: str
) -> tuple[dict[str, bytes], list[str]]:
    """VLLM needs no code of a model that it has its own code for, so there the key is dropped. Else it is refused."""
    rewritten: dict[str, bytes] = {}
    asking = {name: key for name, document in parsed.items() if (key := code_key(document))}
    for name, key in asking.items():
        if task is None:
            raise WrongCheckpoint(
                f"{name} asks for code of its own (key: {key}), which is never run here, and vLLM has none for "
                f"{architecture}"
            )
        if name == "tokenizer_config.json" and not {"tokenizer.json", "tekken.json"} & set(selection.tokenizer):
            raise WrongCheckpoint(
                f"{name} asks for code of its own (key: {key}), which is never run here, and there is no "
                "tokenizer.json that could do without it: save the tokenizer as tokenizer.json, and import the folder"
            )
        rewritten[name] = _written(name, parsed[name])
    if not asking:
        return {}, []
    return rewritten, [
        f"{', '.join(asking)}: code of the model's own was left out (key: {', '.join(sorted(set(asking.values())))}); "
        f"vLLM has its own for {architecture}"
    ]


def _written(name: str, document: dict[str, Any]) -> bytes:
    try:
        return json.dumps(without_code(document), indent=2).encode()
    except RecursionError:
        raise WrongCheckpoint(f"{name} is nested too deeply") from None


def _servable(selection: Selection, config: ModelConfig, architectures: Architectures) -> list[str]:
    """Refuses what no pool could serve. Returns warnings."""
    architecture, task = config.architecture, architectures.task(config.architecture)
    if architecture == SIMULATED or task is Task.DRAFT:
        return []
    if config.document.get("is_encoder_decoder") is True:
        raise WrongCheckpoint(f"{architecture} has an encoder and a decoder: no pool of this version can serve it")
    if task is None and not architecture.endswith(("ForCausalLM", "LMHeadModel", "ForConditionalGeneration")):
        raise WrongCheckpoint(
            f"vLLM {architectures.vllm} has no code for {architecture}, and its name is not that of a model which "
            "generates text: no pool could serve it"
        )
    if not selection.makes_tokens:
        raise WrongCheckpoint(
            "there is no tokenizer (tokenizer.json, tokenizer.model, tekken.json or vocab.json): put the files of its "
            "base model's tokenizer into the folder"
        )
    return list(_doubts(selection, architecture, task, architectures))


def _doubts(selection: Selection, architecture: str, task: Task | None, architectures: Architectures) -> list[str]:
    doubts: list[str] = []
    if task is None:
        doubts.append(
            f"vLLM {architectures.vllm} has no code of its own for {architecture}: a worker can serve it only if "
            "Transformers knows it"
        )
    if selection.is_for_sentences:
        doubts.append("it was trained for embeddings (modules.json): a pool serves them with engine.runner: pooling")
    elif task is Task.POOLING:
        doubts.append(f"{architecture} makes no text: a pool serves its embeddings with engine.runner: pooling")
    return doubts
