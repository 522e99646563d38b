"""A checkpoint on disk: the files that may be published, and what its config says of the model."""

import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from trainer.weights import not_finite

MAX_TENSORS = 65_536
"""Of one file: far more than models have, few enough to be read in a moment."""

WEIGHTS = re.compile(r"\.safetensors$")
TOKENIZER = re.compile(
    r"^(tokenizer\.(json|model)|tokenizer_config\.json|special_tokens_map\.json|added_tokens\.json|vocab\.(json|txt)"
    r"|merges\.txt|chat_template\.(jinja|json))$"
)
OTHER = re.compile(r"^(config\.json|generation_config\.json|.*\.safetensors\.index\.json|LICENSE(\..*)?)$")
CAN_RUN_CODE = re.compile(r"\.(bin|pt|pth|pkl|pickle|ckpt|msgpack|h5|py|pyc|so)$", re.IGNORECASE)


class WrongCheckpoint(Exception):
    """The folder is not a checkpoint that may be published; the message says which file and why."""


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """Files by kind, in the order of their names; `config` is config.json."""

    weights: tuple[Path, ...]
    tokenizer: tuple[Path, ...]
    other: tuple[Path, ...]
    config: dict[str, Any]

    @property
    def files(self) -> tuple[Path, ...]:
        """All files that may be published."""
        return (*self.other, *self.tokenizer, *self.weights)

    @property
    def size(self) -> int:
        """Bytes of all files."""
        return sum(file.stat().st_size for file in self.files)

    @property
    def architecture(self) -> str:
        """Name of the model class, for example LlamaForCausalLM."""
        return str(self.config["architectures"][0])

    @property
    def context_tokens(self) -> int:
        """Most tokens of prompt and answer together."""
        return _number(self.config, "max_position_embeddings", "n_positions", "seq_length")

    @property
    def vocab_size(self) -> int:
        """Number of tokens that the model knows."""
        return _number(self.config, "vocab_size")


def read(folder: Path) -> Checkpoint:
    """Sorts the folder's files and checks them. Raises WrongCheckpoint."""
    files = sorted(path for path in folder.iterdir() if path.is_file())
    _refuse_code(files)
    found = Checkpoint(
        weights=tuple(file for file in files if WEIGHTS.search(file.name)),
        tokenizer=tuple(file for file in files if TOKENIZER.match(file.name)),
        other=tuple(file for file in files if OTHER.match(file.name)),
        config=_json(folder / "config.json"),
    )
    if not found.weights:
        raise WrongCheckpoint(f"{folder.name} has no .safetensors file")
    if not found.config.get("architectures"):
        raise WrongCheckpoint("config.json names no architecture (key: architectures)")
    _ = found.context_tokens, found.vocab_size
    _check_shards(found)
    return found


def _refuse_code(files: list[Path]) -> None:
    for file in files:
        if CAN_RUN_CODE.search(file.name):
            raise WrongCheckpoint(
                f"{file.name} can run code when it is loaded: only safetensors are accepted. "
                "Save the model as safetensors and leave this file out"
            )
        if file.suffix == ".json" and "config" in file.name and "auto_map" in _json(file):
            raise WrongCheckpoint(f"{file.name} asks for code of its own (key: auto_map), which is never run here")


def _json(file: Path) -> dict[str, Any]:
    try:
        document = json.loads(file.read_text())
    except FileNotFoundError:
        raise WrongCheckpoint(f"{file.name} is missing") from None
    except ValueError as error:
        raise WrongCheckpoint(f"{file.name} is not JSON: {error}") from None
    if not isinstance(document, dict):
        raise WrongCheckpoint(f"{file.name} is not a JSON object")
    return document


def _number(config: dict[str, Any], *keys: str) -> int:
    """Multimodal models keep the language model's figures in `text_config`."""
    for place in (config, config.get("text_config") or {}):
        for key in keys:
            if isinstance(value := place.get(key), int) and value > 0:
                return value
    raise WrongCheckpoint(f"config.json lacks a positive number for {' or '.join(keys)}")


def _check_shards(checkpoint: Checkpoint) -> None:
    """Each weight file parses, and together they hold every tensor that the index names."""
    held = {file.name: check_weights(file) for file in checkpoint.weights}
    for index in (file for file in checkpoint.other if file.name.endswith(".index.json")):
        for tensor, shard in _json(index).get("weight_map", {}).items():
            if tensor not in held.get(shard, ()):
                raise WrongCheckpoint(f"{index.name} looks for {tensor} in {shard}, which does not hold it")


def check_weights(file: Path) -> frozenset[str]:
    """Names of a file's tensors. Reads all of it. Raises WrongCheckpoint for one that is cut off or not finite."""
    names = _tensors(file)
    if len(names) > MAX_TENSORS:
        raise WrongCheckpoint(f"{file.name} holds {len(names)} tensors, more than {MAX_TENSORS}")
    if tensor := not_finite(file):
        raise WrongCheckpoint(f"{file.name}: {tensor} holds NaN or infinity; such a model answers nothing")
    return names


def _tensors(file: Path) -> frozenset[str]:
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(file, framework="numpy") as opened:
            return frozenset(opened.keys())
    except SafetensorError as error:
        raise WrongCheckpoint(f"{file.name} is not a whole safetensors file: {error}") from None
