"""Shards: the token ids of many documents, read through memory maps.

A folder holds, beside shards.json and the tokenizer, files of raw little-endian ids, and for each an index of uint64:
the place behind the last token of each document. Only the pages that are read are in memory.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from trainer.data.shard_manifest import (
    INDEX_ITEM_BYTES,
    INDEX_SUFFIX,
    ITEM_BYTES,
    TOKENIZER,
    ShardFile,
    ShardManifest,
    ShardSource,
    digest_of_file,
    items,
    read_manifest,
    tokenizer_digest,
)
from trainer.data.wrong import WrongData

_PIECE = 1 << 20
"""Numbers that are looked at together when a file is verified."""

Ids = NDArray[np.unsignedinteger[Any]]
Ends = NDArray[np.uint64]


@dataclass(frozen=True, slots=True)
class TokenFile:
    """A file of ids and its index, both mapped. A file of 10 GB costs no memory until its pages are read.

    Attributes:
        file: What shards.json says about it.
        ids: Shape (tokens,).
        ends: Shape (documents,): the place behind the last token of each document.
    """

    file: ShardFile
    ids: Ids
    ends: Ends

    def document(self, number: int) -> Ids:
        """The ids of a document with its end token. Raises IndexError."""
        if not 0 <= number < len(self.ends):
            raise IndexError(number)
        return self.ids[int(self.ends[number - 1]) if number else 0 : int(self.ends[number])]


@dataclass(frozen=True, slots=True)
class Shards:
    """An open folder of shards."""

    folder: Path
    manifest: ShardManifest

    @property
    def tokenizer(self) -> Path:
        """The folder of the tokenizer."""
        return self.folder / TOKENIZER

    def files(self, source: ShardSource) -> Iterator[TokenFile]:
        """The files of a source, in their order. Raises WrongData: A file was changed since the folder was opened."""
        return (self.file(file) for file in source.files)

    def file(self, file: ShardFile) -> TokenFile:
        """Maps a file. Raises WrongData: It does not have the size that shards.json says."""
        _check_size(self.folder, file, ITEM_BYTES[self.manifest.dtype])
        dtype = np.dtype(self.manifest.dtype).newbyteorder("<")
        ids = np.memmap(self.folder / file.name, dtype=dtype, mode="r")
        ends = np.memmap(self.folder / f"{file.name}{INDEX_SUFFIX}", dtype="<u8", mode="r")
        if int(ends[-1]) != file.tokens:
            raise WrongData(
                f"{self.folder / file.name}{INDEX_SUFFIX}: the last document ends at {int(ends[-1])}, and there are"
                f" {file.tokens} tokens: copy or prepare the shards again"
            )
        return TokenFile(file, ids, ends)

    def verify(self) -> None:
        """Reads everything once: digests, ids within the vocabulary, documents that end with the end token.

        Raises:
            WrongData: Something is not as shards.json says; the message names the file.
        """
        for source in self.manifest.sources:
            for file in self.files(source):
                self._verify(file)

    def _verify(self, opened: TokenFile) -> None:
        name = opened.file.name
        for path, digest in ((name, opened.file.sha256), (f"{name}{INDEX_SUFFIX}", opened.file.index_sha256)):
            if digest_of_file(self.folder / path) != digest:
                raise WrongData(f"{self.folder / path}: the file is not the one that was written: copy it again")
        self._verify_ids(opened)
        last = 0
        for ends in _pieces(opened.ends):
            steps = np.diff(ends.astype(np.int64), prepend=last)
            if steps.min() < 1:
                raise WrongData(f"{self.folder / name}{INDEX_SUFFIX}: the ends of the documents do not rise")
            if (opened.ids[ends - 1] != self.manifest.eos_id).any():
                raise WrongData(f"{self.folder / name}: a document does not end with the end token")
            last = int(ends[-1])

    def _verify_ids(self, opened: TokenFile) -> None:
        largest = max(int(piece.max()) for piece in _pieces(opened.ids))
        if largest >= self.manifest.vocab_size:
            raise WrongData(
                f"{self.folder / opened.file.name}: the id {largest} is beyond vocab_size = {self.manifest.vocab_size}"
            )


def open_shards(folder: Path) -> Shards:
    """Opens a folder, and checks the tokenizer and the sizes of all files. `Shards.verify` reads the files too.

    Raises:
        WrongData: There are no shards, a file is missing or torn, or the tokenizer is another one.
    """
    manifest = read_manifest(folder)
    if tokenizer_digest(folder / TOKENIZER) != manifest.tokenizer.sha256:
        raise WrongData(f"{folder / TOKENIZER}: the tokenizer is not the one that made the shards")
    for source in manifest.sources:
        for file in source.files:
            _check_size(folder, file, ITEM_BYTES[manifest.dtype])
    return Shards(folder, manifest)


def _check_size(folder: Path, file: ShardFile, item_bytes: int) -> None:
    sizes = ((file.name, file.tokens, item_bytes), (f"{file.name}{INDEX_SUFFIX}", file.documents, INDEX_ITEM_BYTES))
    for name, wanted, width in sizes:
        found = items(folder / name, width)
        if found != wanted:
            raise WrongData(
                f"{folder / name}: the file holds {found} numbers, and shards.json says {wanted}: copy or prepare the"
                " shards again"
            )


def _pieces(numbers: NDArray[Any]) -> Iterator[NDArray[Any]]:
    for begin in range(0, len(numbers), _PIECE):
        yield numbers[begin : begin + _PIECE]
