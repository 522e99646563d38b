"""Readable data as shards: each source becomes one file of tokens, in memory that does not grow with the data."""

import json
import shutil
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import fields
from pathlib import Path
from typing import Any

from trainer.data.folder import is_data
from trainer.data.forms.form import Form
from trainer.data.reader import Reader
from trainer.data.report import Report
from trainer.data.sample import Conversation, PreferencePair, Sample, Text, documents
from trainer.data.shard_manifest import (
    INDEX_SUFFIX,
    MANIFEST,
    TOKENIZER,
    Dtype,
    ShardManifest,
    ShardSource,
    Tokenizer,
    described,
    dtype_of,
    tokenizer_digest,
    write_manifest,
)
from trainer.data.wrong import WrongData
from trainer.errors import Unfit
from trainer.selection import is_tokenizer_file

REPORT = "report.json"
_BATCH_CHARACTERS = 1 << 20
"""Characters of the documents that are made tokens together."""
_CODES: Mapping[Dtype, str] = {"uint16": "<u2", "uint32": "<u4"}


def sources_of(data: Path, weights: Mapping[str, float] | None) -> dict[str, tuple[Path, float]]:
    """The sources of readable data: place and weight of each, by its name.

    Args:
        data: A file, or a folder.
        weights: By the name of an entry of the folder. None: the data is one source.

    Raises:
        WrongData: An entry with a weight is not there, or one without a weight holds data.
    """
    if weights is None:
        return {data.stem: (data, 1.0)}
    if not data.is_dir():
        raise WrongData(f"weights: {data.name} is a file, so it is one source: leave weights out")
    entries = {entry.name: entry for entry in data.iterdir() if entry.is_dir() or is_data(entry.name)}
    shown = {name: entry for name, entry in entries.items() if not name.startswith(".")}
    if missing := sorted(weights.keys() - shown.keys()):
        raise WrongData(f"weights: {data.name} has no entry {missing[0]!r}: it has {', '.join(sorted(shown))}")
    if without := sorted(shown.keys() - weights.keys()):
        raise WrongData(
            f"weights: {without[0]} in {data.name} has no weight: give it one, or take it out of the folder"
        )
    return {name: (shown[name], weight) for name, weight in sorted(weights.items())}


def tokenize(
    sources: Mapping[str, tuple[Path, float]], form: Form | None, tokenizer: Any, model: Path, folder: Path
) -> Report:
    """Writes shards. Conversations become what the chat template makes of them, and all of it is learnt.

    Args:
        sources: Place and weight of each, by its name.
        form: Of all files; None: found out, for each file.
        tokenizer: Makes the tokens.
        model: Folder that holds the files of the tokenizer.
        folder: For the shards. If it holds shards, they are kept: the caller knows that the data is the same.

    Returns:
        What became of the records.

    Raises:
        WrongData: Data cannot be read, a source has no sample, or the data are preference pairs.
        Unfit: The tokenizer has no end token, or no chat template where the data are conversations.
    """
    if (folder / MANIFEST).is_file():
        return _load(folder / REPORT)
    if tokenizer.eos_token_id is None:
        raise Unfit("the tokenizer has no eos_token, which ends every document: name one in tokenizer_config.json")
    shutil.rmtree(folder, ignore_errors=True)
    _copy_tokenizer(model, folder / TOKENIZER)
    vocab_size = max(tokenizer.get_vocab().values()) + 1
    dtype = dtype_of(vocab_size)
    report, made = Report(), list[ShardSource]()
    for number, (name, (place, weight)) in enumerate(sources.items()):
        reader = Reader(place, form, report)
        left_out = report.files_left_out
        file = folder / f"{number:05}.bin"
        _write(file, dtype, _documents(reader.samples(), tokenizer))
        report.files_left_out += left_out
        if not file.stat().st_size:
            raise WrongData(f"{place.name}: no sample is left to learn from")
        made.append(ShardSource(name=name, weight=weight, files=(described(folder, file.name, dtype),)))
    (folder / REPORT).write_text(json.dumps({part.name: getattr(report, part.name) for part in fields(report)}))
    write_manifest(
        folder,
        ShardManifest(
            tokenizer=Tokenizer(sha256=tokenizer_digest(folder / TOKENIZER)),
            vocab_size=vocab_size,
            dtype=dtype,
            bos_id=None,
            eos_id=tokenizer.eos_token_id,
            sources=tuple(made),
        ),
    )
    return report


def _copy_tokenizer(model: Path, folder: Path) -> None:
    folder.mkdir(parents=True)
    for file in model.iterdir():
        if file.is_file() and is_tokenizer_file(file.name):
            shutil.copyfile(file, folder / file.name)


def _write(file: Path, dtype: Dtype, found: Iterator[Sequence[int]]) -> None:
    """One document after the other, and where each ends."""
    import numpy as np

    with ExitStack() as stack:
        ids = stack.enter_context(file.open("wb"))
        index = stack.enter_context(file.with_name(f"{file.name}{INDEX_SUFFIX}").open("wb"))
        end = 0
        for document in found:
            end += len(document)
            ids.write(np.asarray(document, _CODES[dtype]).tobytes())
            index.write(end.to_bytes(8, "little"))


def _documents(samples: Iterator[Sample], tokenizer: Any) -> Iterator[Sequence[int]]:
    """The tokens of each sample, with the end token behind them."""
    end = tokenizer.eos_token_id
    for batch, are_texts in _batches(samples, tokenizer):
        # A chat template has written the special tokens already. What a text says of them are letters.
        made = tokenizer(batch, add_special_tokens=are_texts, split_special_tokens=are_texts)
        for ids in made["input_ids"]:
            yield ids if ids[-1:] == [end] else [*ids, end]


def _batches(samples: Iterator[Sample], tokenizer: Any) -> Iterator[tuple[list[str], bool]]:
    """All samples are of one kind."""
    batch: list[str] = []
    are_texts, size = True, 0
    for sample in samples:
        are_texts = isinstance(sample, Text)
        batch.append(_text(sample, tokenizer))
        size += len(batch[-1])
        if size >= _BATCH_CHARACTERS:
            yield batch, are_texts
            batch, size = [], 0
    if batch:
        yield batch, are_texts


def _text(sample: Sample, tokenizer: Any) -> str:
    if isinstance(sample, Text):
        return sample.text
    if isinstance(sample, PreferencePair):
        raise WrongData(f"{sample.place}: preference pairs are no texts to learn: set method: dpo, or give texts")
    if sample.good is not None:
        raise WrongData(f"{sample.place}: judged answers are no texts to learn: set method: kto, or give texts")
    return _rendered(sample, tokenizer)


def _rendered(chat: Conversation, tokenizer: Any) -> str:
    from jinja2 import TemplateError

    if tokenizer.chat_template is None:
        raise Unfit(
            "the data are conversations, and the tokenizer has no chat template: set chat_template, or give texts"
        )
    try:
        made = tokenizer.apply_chat_template(
            documents(chat.messages), tools=list(chat.tools) or None, tokenize=False, add_generation_prompt=False
        )
    except TemplateError as error:
        raise WrongData(f"{chat.place}: the chat template refuses the chat: {error}") from None
    return str(made)


def _load(file: Path) -> Report:
    found = json.loads(file.read_bytes())
    return Report(
        forms=Counter(found["forms"]),
        kept=found["kept"],
        converted=Counter(found["converted"]),
        dropped=Counter(found["dropped"]),
        first_dropped=found["first_dropped"],
        kept_out=Counter(found["kept_out"]),
        files_left_out=found["files_left_out"],
    )
