"""Folders of shards as tests need them: small, and written without `tidegate data prepare`."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from trainer.data.shard_manifest import (
    INDEX_SUFFIX,
    TOKENIZER,
    ShardManifest,
    ShardSource,
    Tokenizer,
    described,
    dtype_of,
    tokenizer_digest,
    write_manifest,
)

EOS = 0


def write_shards(
    folder: Path, sources: Mapping[str, tuple[float, Sequence[Sequence[Sequence[int]]]]], *, vocab_size: int = 256
) -> Path:
    """Writes a folder: name of a source -> its weight, and its files, each of them documents of ids without EOS."""
    dtype = dtype_of(vocab_size)
    (folder / TOKENIZER).mkdir(parents=True)
    (folder / TOKENIZER / "tokenizer.json").write_text("{}")
    written = []
    for source, (weight, files) in sources.items():
        (folder / source).mkdir()
        found = []
        for number, documents in enumerate(files):
            name = f"{source}/{number:05d}.ds"
            ended = [[*document, EOS] for document in documents]
            np.array([token for document in ended for token in document], np.dtype(dtype).newbyteorder("<")).tofile(
                folder / name
            )
            np.cumsum([len(document) for document in ended], dtype="<u8").tofile(folder / f"{name}{INDEX_SUFFIX}")
            found.append(described(folder, name, dtype))
        written.append(ShardSource(name=source, weight=weight, files=tuple(found)))
    manifest = ShardManifest(
        tokenizer=Tokenizer(sha256=tokenizer_digest(folder / TOKENIZER)),
        vocab_size=vocab_size,
        dtype=dtype,
        bos_id=None,
        eos_id=EOS,
        sources=tuple(written),
    )
    write_manifest(folder, manifest)
    return folder
