"""A folder of shards in which every token has a value of its own, so that sequences tell where they are from."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np

from trainer.data.shard_manifest import (
    ShardManifest,
    ShardSource,
    Tokenizer,
    described,
    tokenizer_digest,
    write_manifest,
)
from trainer.data.shards import Shards, open_shards

EOS = 0


def shards(folder: Path, sources: Mapping[str, list[int]]) -> Shards:
    """Sources with files of so many tokens each; every file ends with the end token."""
    (folder / "tokenizer").mkdir(parents=True)
    (folder / "tokenizer/tokenizer.json").write_text("{}")
    made, first = [], 1
    for name, sizes in sources.items():
        files = []
        for number, size in enumerate(sizes):
            ids = np.arange(first, first + size, dtype="<u4")
            first += size
            ids[-1] = EOS
            ids.tofile(folder / f"{name}-{number}.bin")
            np.array([size], dtype="<u8").tofile(folder / f"{name}-{number}.bin.index")
            files.append(described(folder, f"{name}-{number}.bin", "uint32"))
        made.append(ShardSource(name=name, weight=1.0, files=tuple(files)))
    digest = tokenizer_digest(folder / "tokenizer")
    write_manifest(
        folder,
        ShardManifest(
            tokenizer=Tokenizer(sha256=digest),
            vocab_size=1 << 20,
            dtype="uint32",
            bos_id=None,
            eos_id=EOS,
            sources=tuple(made),
        ),
    )
    return open_shards(folder)
