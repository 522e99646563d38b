"""The tokenizer of the shards: trained on the texts that are left, or taken from a folder."""

import hashlib
import json
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

from trainer.data.shard_manifest import Dtype, dtype_of
from trainer.data.wrong import WrongData
from trainer.preparing.documents import stored
from trainer.preparing.recipe import DEFAULT_EOS, TrainTokenizer
from trainer.selection import is_tokenizer_file

FILE = "tokenizer.json"
SETTINGS = "tokenizer_config.json"
TEMPLATE = "chat_template.jinja"
_SAMPLE_STEPS = 1 << 32


@dataclass(frozen=True, slots=True)
class Vocabulary:
    """What a tokenizer makes of texts. `size` is one more than the largest id."""

    size: int
    eos: str
    eos_id: int
    bos: str | None
    bos_id: int | None

    @property
    def dtype(self) -> Dtype:
        """The type of its ids on the disk."""
        return dtype_of(self.size)


def train(folder: Path, settings: TrainTokenizer, texts: Path, tasks: int, seed: int, eos: str | None) -> None:
    """Trains a byte-level BPE on a sample of the documents in `texts`, and writes it to `folder`, whole or not at all.

    Raises:
        WrongData: There are no documents.
    """
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=settings.vocab_size,
        min_frequency=settings.min_frequency,
        special_tokens=list(settings.special_tokens),
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        show_progress=False,
    )
    tokenizer.train_from_iterator(_sample(texts, tasks, settings.sample_bytes, seed), trainer)
    with _draft(folder) as draft:
        tokenizer.save(str(draft / FILE))
        (draft / SETTINGS).write_text(_settings(settings, eos or DEFAULT_EOS))
        if settings.chat_template:
            shutil.copy(settings.chat_template, draft / TEMPLATE)


def take(source: Path, folder: Path) -> None:
    """Copies the tokenizer's files of a folder, whole or not at all.

    Raises:
        WrongData: The folder holds no tokenizer.json.
    """
    if not (source / FILE).is_file():
        raise WrongData(f"tokenizer: {source} holds no {FILE}: save it as a fast tokenizer of transformers")
    with _draft(folder) as draft:
        for path in sorted(source.iterdir()):
            if path.is_file() and is_tokenizer_file(path.name):
                shutil.copy(path, draft / path.name)


def vocabulary(folder: Path, eos: str | None, bos: str | None) -> Vocabulary:
    """Size and special tokens of a tokenizer.

    Args:
        folder: Holds it.
        eos: The end token; None: its own.
        bos: The token in front of every document, or None.

    Raises:
        WrongData: It cannot be read, or does not have these tokens.
    """
    tokenizer = load(folder)
    ids: dict[str, int] = tokenizer.get_vocab(with_added_tokens=True)
    end = eos or _own_eos(folder)
    for key, token in (("eos_token", end), ("bos_token", bos)):
        if token is not None and token not in ids:
            raise WrongData(f"{key} = {token}: the tokenizer has no such token")
    if end is None:
        raise WrongData("eos_token: the tokenizer does not say which token ends a document: set one of its tokens")
    return Vocabulary(
        size=max(ids.values()) + 1, eos=end, eos_id=ids[end], bos=bos, bos_id=ids[bos] if bos is not None else None
    )


def load(folder: Path) -> Any:
    """The tokenizer without what cuts or fills up, and to which special tokens in a text are letters.

    Raises:
        WrongData: It cannot be read.
    """
    try:
        tokenizer = Tokenizer.from_file(str(folder / FILE))
    except Exception as error:  # noqa: BLE001 - the library raises nothing more exact
        raise WrongData(f"{folder / FILE}: the tokenizer cannot be read: {error}") from None
    tokenizer.no_padding()
    tokenizer.no_truncation()
    tokenizer.encode_special_tokens = True
    return tokenizer


def _sample(texts: Path, tasks: int, limit: int, seed: int) -> Iterator[str]:
    """Documents by the hash of their name: the same ones, however often a run was stopped."""
    size = sum(path.stat().st_size for path in texts.glob("*.jsonl"))
    if not size:
        raise WrongData("no document is left to train the tokenizer on: see the report for what was dropped")
    share, left = min(1.0, limit / size), limit
    for task in range(tasks):
        for document in stored(texts, task):
            drawn = hashlib.sha256(f"{seed}:{document.id}".encode()).digest()
            if int.from_bytes(drawn[:4]) < share * _SAMPLE_STEPS:
                left -= len(document.text.encode())
                if left < 0:
                    return
                yield document.text


@contextmanager
def _draft(folder: Path) -> Iterator[Path]:
    """A folder that gets its name when it is whole."""
    draft = folder.with_name(f"{folder.name}.new")
    shutil.rmtree(draft, ignore_errors=True)
    draft.mkdir(parents=True)
    yield draft
    draft.replace(folder)


def _settings(settings: TrainTokenizer, eos: str) -> str:
    """What transformers reads beside the tokenizer itself."""
    return json.dumps(
        {
            "tokenizer_class": "PreTrainedTokenizerFast",
            "eos_token": eos,
            "pad_token": eos,
            "additional_special_tokens": [token for token in settings.special_tokens if token != eos],
            "clean_up_tokenization_spaces": False,
            "model_max_length": 1_000_000,
        },
        indent=2,
    )


def _own_eos(folder: Path) -> str | None:
    file = folder / SETTINGS
    found = json.loads(file.read_bytes()).get("eos_token") if file.is_file() else None
    if isinstance(found, dict):
        found = found.get("content")
    return found if isinstance(found, str) else None
