"""Which files of a folder or repository are its model. Pure: names go in, names come out.

Only weights that the index names are taken. Copies in other formats stay behind: PyTorch's and TensorFlow's, ONNX,
GGUF, and Mistral's own (`consolidated`).
"""

import json
import re
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass

from services.shared.manifests import FILE_NAMES, is_file_name
from trainer.errors import WrongCheckpoint

INDEX = "model.safetensors.index.json"
CONFIG = "config.json"

_SAFETENSORS = ".safetensors"
_INDEX = ".safetensors.index.json"
_TOKENIZER = re.compile(
    r"(tokenizer\.(json|model)|tokenizer_config\.json|special_tokens_map\.json|added_tokens\.json|vocab\.(json|txt)"
    r"|merges\.txt|(spiece|spm|sentencepiece\.bpe|tiktoken)\.model|tekken\.json|chat_template\.(jinja|json)"
    r"|additional_chat_templates/[^/]+\.jinja)"
)
_VOCABULARY = re.compile(r"tokenizer\.(json|model)|tekken\.json|vocab\.(json|txt)|(spiece|spm|.*bpe|tiktoken)\.model")
"""Each of them alone is enough to make tokens of a text."""
_OTHER = re.compile(
    r"(config\.json|generation_config\.json|(image_|video_|audio_)?(pre)?processor_config\.json"
    r"|video_preprocessor_config\.json|(quant|quantize|hf_quant)_config\.json"
    r"|modules\.json|config_sentence_transformers\.json|sentence_bert_config\.json|\d+_\w+/config\.json"
    r"|(LICENSE|NOTICE)(\.(txt|md))?)"
)
_MAX_LISTED = 40
_PICKLES = re.compile(r"\.(bin|pt|pth|pkl|pickle|ckpt|msgpack|h5)$", re.IGNORECASE)
_NUMBERED = re.compile(r"(?P<stem>.+)-(?P<number>\d{5})-of-(?P<total>\d{5})\.safetensors")


class OnlyGguf(WrongCheckpoint):
    """The weights are in GGUF files, of which one is to be named.

    Attributes:
        files: Their names.
    """

    def __init__(self, files: Sequence[str], address: str = "") -> None:
        self.files = files
        typed = f"{address}/{files[0]}" if address else files[0]
        super().__init__(
            f"it has no .safetensors file, only GGUF files: {listed(files, _MAX_LISTED)}. Import one of them by its "
            f"name, such as {typed}"
        )

    def at(self, address: str) -> "OnlyGguf":
        """The same error, which names what people type for the place."""
        return OnlyGguf(self.files, address)


@dataclass(frozen=True, slots=True)
class Selection:
    """Names of the files to take, by kind, each kind in the order of its names."""

    weights: tuple[str, ...]
    tokenizer: tuple[str, ...]
    other: tuple[str, ...]

    @property
    def names(self) -> tuple[str, ...]:
        """All of them; those that are small come first."""
        return (*self.other, *self.tokenizer, *self.weights)

    @property
    def makes_tokens(self) -> bool:
        """Whether there is a tokenizer, and not only settings of one."""
        return any(_VOCABULARY.fullmatch(name) for name in self.tokenizer)

    @property
    def is_for_sentences(self) -> bool:
        """Whether sentence-transformers made it: then it was trained for embeddings."""
        return "modules.json" in self.other


def is_tokenizer_file(name: str) -> bool:
    """Whether a file belongs to the tokenizer; the chat templates do."""
    return bool(_TOKENIZER.fullmatch(name))


def index_name(names: Iterable[str]) -> str | None:
    """The index of the weights, which must be read before `select`; None when there is none.

    Raises:
        WrongCheckpoint: There are several.
    """
    found = sorted(name for name in names if _is_ours(name, _INDEX))
    if INDEX in found:
        return INDEX
    if len(found) > 1:
        raise WrongCheckpoint(f"there are several indexes of weights ({', '.join(found)}): keep the one to be used")
    return found[0] if found else None


def weight_map(name: str, content: bytes) -> dict[str, str]:
    """Tensor -> file, as the index `name` has it.

    Raises:
        WrongCheckpoint: It is no index.
    """
    try:
        found = json.loads(content)["weight_map"]
    except (ValueError, RecursionError, KeyError, TypeError):
        raise WrongCheckpoint(f"{name} is no index of weights: it has no weight_map") from None
    if not isinstance(found, dict) or not found or not all(isinstance(file, str) for file in found.values()):
        raise WrongCheckpoint(f"{name} is no index of weights: its weight_map does not name a file for each tensor")
    return found


def select(names: Collection[str], index: tuple[str, Collection[str]] | None) -> Selection:
    """The files to take.

    Args:
        names: Every file, its folders in front with '/'.
        index: The index and the files that it names, if there is one.

    Raises:
        OnlyGguf: The weights are in GGUF files.
        WrongCheckpoint: The weights are missing, not complete, or there in no format that holds only data; or a file
            has a name that a version's files cannot have.
    """
    if "adapter_config.json" in names and CONFIG not in names:
        raise WrongCheckpoint("it is an adapter (adapter_config.json) and no whole model")
    weights = _of_index(names, *index) if index else _without_index(names)
    selection = Selection(
        weights=tuple(sorted(weights)),
        tokenizer=tuple(sorted(filter(is_tokenizer_file, names))),
        other=tuple(sorted({name for name in names if _OTHER.fullmatch(name)} | ({index[0]} if index else set()))),
    )
    if strange := sorted(name for name in selection.names if not is_file_name(name)):
        raise WrongCheckpoint(f"no file of a version can be called {strange[0]!r}: a name is {FILE_NAMES}")
    return selection


def _is_ours(name: str, ending: str) -> bool:
    """Whether it lies beside config.json and is in the format of Hugging Face's libraries."""
    return name.endswith(ending) and "/" not in name and not name.startswith(("consolidated", "adapter_model"))


def _of_index(names: Collection[str], index: str, files: Collection[str]) -> set[str]:
    if strange := sorted(file for file in files if not file.endswith(_SAFETENSORS)):
        raise WrongCheckpoint(f"{index} names {strange[0]}, which is no safetensors file")
    if missing := sorted(set(files) - set(names)):
        raise WrongCheckpoint(
            f"{index} names {listed(missing)}, which {'are' if len(missing) > 1 else 'is'} missing: the upload or "
            "download of the model has not ended. Complete it, or try again later"
        )
    return set(files)


def _without_index(names: Collection[str]) -> set[str]:
    if "model.safetensors" in names:
        return {"model.safetensors"}
    found = {name for name in names if _is_ours(name, _SAFETENSORS)}
    if not found:
        if converted := sorted(name for name in names if name.endswith(".gguf")):
            raise OnlyGguf(converted)
        raise WrongCheckpoint(_why_none(names))
    _check_numbers(found)
    return found


def _check_numbers(weights: Collection[str]) -> None:
    """Numbered shards without an index are taken when all are there."""
    for match in filter(None, map(_NUMBERED.fullmatch, weights)):
        total = int(match["total"])
        wanted = {f"{match['stem']}-{number:05}-of-{total:05}.safetensors" for number in range(1, total + 1)}
        if missing := sorted(wanted - set(weights)):
            raise WrongCheckpoint(f"{listed(missing)} missing: the model has {total} files of weights")


def _why_none(names: Collection[str]) -> str:
    if any(name.startswith("consolidated") for name in names):
        return (
            "its weights are only in Mistral's own format (consolidated); a version in Hugging Face's format is needed"
        )
    if pickles := sorted(name for name in names if _PICKLES.search(name)):
        return (
            f"it has no .safetensors file. {pickles[0]} can run code when it is loaded, so only safetensors are "
            "accepted: save the model with save_pretrained of Transformers, which writes them"
        )
    return (
        "it has no .safetensors file" if CONFIG in names else f"{CONFIG} is missing, and there is no .safetensors file"
    )


def listed(names: Sequence[str], most: int = 3) -> str:
    """The names for people: the first `most`, and how many more there are."""
    more = len(names) - most
    return ", ".join(names[:most]) + (f" and {more} more" if more > 0 else "")
