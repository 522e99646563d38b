"""Texts become token ids: the last stage, and the one that counts tokens."""

import json
from collections.abc import Iterable, Iterator, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

from datatrove.data import Document
from datatrove.io import get_datafolder
from datatrove.pipeline.base import PipelineStep
from datatrove.pipeline.tokens.tokenizer import DocumentTokenizer
from datatrove.utils.batching import batched
from tokenizers.processors import TemplateProcessing

from trainer.data.shard_manifest import ITEM_BYTES
from trainer.preparing.documents import FAULT, PII, REASON, stored
from trainer.preparing.tokenizer_folder import FILE, Vocabulary, load

BATCH = 256
"""Documents that are encoded together."""
SHOWN = 3
"""Examples of each reason."""
SHOWN_CHARACTERS = 200


class WriteShards(DocumentTokenizer):  # type: ignore[misc]
    """datatrove's step, without shuffling: the order in which documents are learnt is the trainer's. One file a task.

    Args:
        output: Folder of the shards.
        sources: The source of each task.
        tokenizer: Its folder.
        vocabulary: What the tokenizer has.
    """

    def __init__(self, output: Path, sources: Sequence[str], tokenizer: Path, vocabulary: Vocabulary) -> None:
        super().__init__(
            str(output),
            str(tokenizer / FILE),
            eos_token=vocabulary.eos,
            save_final_metadata=False,
            shuffle_documents=False,
            batch_size=BATCH,
        )
        self._output, self._sources, self._folder = output, tuple(sources), tokenizer
        self._vocabulary = vocabulary
        # datatrove counts the tokens of a vocabulary, and a vocabulary may have gaps.
        self.token_size = ITEM_BYTES[vocabulary.dtype]

    @cached_property
    def tokenizer(self) -> Any:
        """The tokenizer, which ends each document."""
        return encoder(self._folder, self._vocabulary)

    def run(self, data: Iterable[Document], rank: int = 0, world_size: int = 1) -> None:
        """See PipelineStep."""
        self.output_folder = get_datafolder(str(self._output / self._sources[rank]))
        self.write_unshuffled(data, shard_name(rank))


def shard_name(task: int) -> str:
    """The file of a task, within the folder of its source."""
    return f"{task:05d}.ds"


def encoder(folder: Path, vocabulary: Vocabulary) -> Any:
    """A tokenizer that puts the end token behind each text, and the begin token in front if there is one."""
    tokenizer = load(folder)
    begin = "<BOS> " if vocabulary.bos_id is not None else ""
    special = [("<EOS>", vocabulary.eos_id)]
    if vocabulary.bos_id is not None:
        special.append(("<BOS>", vocabulary.bos_id))
    tokenizer.post_processor = TemplateProcessing(single=f"{begin}$A <EOS>", pair=None, special_tokens=special)
    return tokenizer


class Count(PipelineStep):  # type: ignore[misc]
    """Counts what a task got and what was dropped of it, in documents and tokens, and keeps examples.

    Args:
        folder: For the counts, a file for each task.
        dropped: What was dropped, with a folder for each of `steps`.
        kept: What was kept.
        steps: Names.
        tokenizer: Its folder.
        vocabulary: What the tokenizer has.
    """

    type = "🔢 - COUNT"
    name = "documents and tokens"

    def __init__(
        self, folder: Path, dropped: Path, kept: Path, steps: Sequence[str], tokenizer: Path, vocabulary: Vocabulary
    ) -> None:
        super().__init__()
        self.folder, self.dropped, self.kept, self.steps = folder, dropped, kept, tuple(steps)
        self.tokenizer_folder, self.vocabulary = tokenizer, vocabulary

    def run(self, data: Iterable[Document], rank: int = 0, world_size: int = 1) -> None:
        """See PipelineStep."""
        tokenizer = encoder(self.tokenizer_folder, self.vocabulary)
        read = _Counted()
        for _, count in _lengths(tokenizer, data):
            read.add(count)
        reasons: dict[str, dict[str, _Counted]] = {step: {} for step in self.steps}
        for step in self.steps:
            for document, count in _lengths(tokenizer, stored(self.dropped / step, rank)):
                reason = document.metadata.get(REASON, step)
                reasons[step].setdefault(reason, _Counted()).add(count, document)
        replaced: dict[str, int] = {}
        for document in stored(self.kept, rank):
            for kind, count in document.metadata.get(PII, {}).items():
                replaced[kind] = replaced.get(kind, 0) + count
        self._write(rank, read, reasons, replaced)

    def _write(
        self, rank: int, read: "_Counted", reasons: dict[str, dict[str, "_Counted"]], replaced: dict[str, int]
    ) -> None:
        dropped = [
            {"step": step, "reason": reason, **counted.document()}
            for step, found in reasons.items()
            for reason, counted in sorted(found.items())
        ]
        self.folder.mkdir(parents=True, exist_ok=True)
        content = {"documents": read.documents, "tokens": read.tokens, "dropped": dropped, "replaced": replaced}
        (self.folder / f"{rank:05d}.json").write_text(json.dumps(content))


class _Counted:
    """Documents of a kind, their tokens, and the first of them."""

    def __init__(self) -> None:
        self.documents, self.tokens = 0, 0
        self.examples: list[dict[str, str]] = []

    def add(self, tokens: int, document: Document | None = None) -> None:
        self.documents, self.tokens = self.documents + 1, self.tokens + tokens
        if document is not None and len(self.examples) < SHOWN:
            text = document.metadata.get("contaminated_ngram") or document.text
            self.examples.append({"document": document.id, "text": text[:SHOWN_CHARACTERS]})

    def document(self) -> dict[str, Any]:
        return {"documents": self.documents, "tokens": self.tokens, "examples": self.examples}


def _lengths(tokenizer: Any, documents: Iterable[Document]) -> Iterator[tuple[Document, int]]:
    """Each document with its tokens. One that could not be read has none."""
    for batch in batched(documents, BATCH):
        texts = ["" if FAULT in document.metadata else document.text for document in batch]
        for document, encoded in zip(batch, tokenizer.encode_batch(texts), strict=True):
            yield document, 0 if FAULT in document.metadata else len(encoded.ids)
