"""shards.json: what a folder of shards holds. It is written last, so a folder without it was never finished."""

import hashlib
import os
from collections import Counter
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from services.shared.manifests import FILE_NAMES, File, digest_of_files, is_file_name
from trainer.data.wrong import WrongData

MANIFEST = "shards.json"
TOKENIZER: Literal["tokenizer"] = "tokenizer"
"""The folder of the tokenizer, within that of the shards."""
INDEX_SUFFIX = ".index"
"""The index of a file is called as the file, with this behind it."""
INDEX_ITEM_BYTES = 8
MAX_MANIFEST_BYTES = 1 << 26
FORMAT: Literal[1] = 1

Dtype = Literal["uint16", "uint32"]
ITEM_BYTES: Mapping[Dtype, int] = {"uint16": 2, "uint32": 4}
Digest = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
Id = Annotated[int, Field(ge=0, lt=1 << 32)]


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class ShardFile(_Part):
    """A file of token ids and its index.

    Attributes:
        name: Path below the folder of the shards, with '/' between its parts.
        tokens: Ids in the file; each document ends with the end token.
        documents: Numbers in the index; each is the place behind a document's last token, counted in tokens.
        sha256: Of the ids.
        index_sha256: Of the index.
    """

    name: str
    tokens: int = Field(ge=1)
    documents: int = Field(ge=1)
    sha256: Digest
    index_sha256: Digest

    @model_validator(mode="after")
    def _stays_in_the_folder(self) -> Self:
        if not is_file_name(self.name):
            raise ValueError(f"the file name {self.name!r}: a name is {FILE_NAMES}")
        if self.documents > self.tokens:
            raise ValueError(f"{self.name} has more documents than tokens")
        return self


class ShardSource(_Part):
    """The files of one source. `weight` is its share of what is learnt, beside the other sources' weights."""

    name: str
    weight: float = Field(gt=0, allow_inf_nan=False)
    files: tuple[ShardFile, ...]

    @property
    def tokens(self) -> int:
        """Ids of all files."""
        return sum(file.tokens for file in self.files)

    @property
    def documents(self) -> int:
        """Documents of all files."""
        return sum(file.documents for file in self.files)


class Tokenizer(_Part):
    """The tokenizer that made the ids: `path` is its folder, below that of the shards."""

    path: Literal["tokenizer"] = TOKENIZER
    sha256: Digest = Field(description="Over the names and digests of its files.")


class ShardManifest(_Part):
    """See the module. `eos_id` ends every document; `bos_id` begins it, or is None."""

    format: Literal[1] = FORMAT
    tokenizer: Tokenizer
    vocab_size: int = Field(ge=1, le=1 << 32)
    dtype: Dtype
    bos_id: Id | None
    eos_id: Id
    sources: tuple[ShardSource, ...] = Field(min_length=1)

    @model_validator(mode="after")
    def _fits_together(self) -> Self:
        if self.vocab_size > 1 << (8 * ITEM_BYTES[self.dtype]):
            raise ValueError(f"vocab_size = {self.vocab_size} does not fit {self.dtype}")
        if max(self.eos_id, self.bos_id or 0) >= self.vocab_size:
            raise ValueError(f"bos_id or eos_id lies beyond vocab_size = {self.vocab_size}")
        names = Counter(file.name for source in self.sources for file in source.files)
        names.update(source.name for source in self.sources)
        if twice := sorted(name for name, count in names.items() if count > 1):
            raise ValueError(f"named twice: {', '.join(twice)}")
        return self


def dtype_of(vocab_size: int) -> Dtype:
    """The smallest type that holds all ids of a vocabulary."""
    return "uint16" if vocab_size <= 1 << 16 else "uint32"


def read_manifest(folder: Path) -> ShardManifest:
    """Reads shards.json.

    Raises:
        WrongData: There is none, or it says what no shards are like.
    """
    file = folder / MANIFEST
    if not file.is_file():
        raise WrongData(f"{folder}: there is no {MANIFEST}: the folder holds no shards, or they were never finished")
    if file.stat().st_size > MAX_MANIFEST_BYTES:
        raise WrongData(f"{file}: it has more than {MAX_MANIFEST_BYTES} bytes")
    return parse_manifest(file.read_bytes(), str(file))


def parse_manifest(content: bytes, file: str) -> ShardManifest:
    """Reads the content of a shards.json, which messages call `file`. Raises WrongData: It says what no shards are."""
    try:
        return ShardManifest.model_validate_json(content)
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(map(str, first["loc"])) or "the file"
        raise WrongData(f"{file}: {place}: {first['msg']}") from None


def write_manifest(folder: Path, manifest: ShardManifest) -> None:
    """Writes shards.json, whole or not at all."""
    draft = folder / f".{MANIFEST}.new"
    with draft.open("w") as opened:
        opened.write(manifest.model_dump_json(indent=1) + "\n")
        opened.flush()
        os.fsync(opened.fileno())
    draft.replace(folder / MANIFEST)


def described(folder: Path, name: str, dtype: Dtype) -> ShardFile:
    """What shards.json says about a file of ids and its index, which lie in the folder.

    Raises:
        WrongData: A file is missing or empty, or ends within a number.
    """
    tokens = items(folder / name, ITEM_BYTES[dtype])
    documents = items(folder / f"{name}{INDEX_SUFFIX}", INDEX_ITEM_BYTES)
    if not tokens or not documents:
        raise WrongData(f"{folder / name}: the file or its index is empty")
    return ShardFile(
        name=name,
        tokens=tokens,
        documents=documents,
        sha256=digest_of_file(folder / name),
        index_sha256=digest_of_file(folder / f"{name}{INDEX_SUFFIX}"),
    )


def items(file: Path, item_bytes: int) -> int:
    """How many numbers a file holds. Raises WrongData: It is missing, or ends within a number."""
    if not file.is_file():
        raise WrongData(f"{file}: the file is missing: copy or prepare the shards again")
    count, rest = divmod(file.stat().st_size, item_bytes)
    if rest:
        raise WrongData(f"{file}: the file ends within a number: copy or prepare the shards again")
    return count


def digest_of_file(file: Path) -> str:
    """SHA-256 in hex. The file is read in pieces."""
    with file.open("rb") as opened:
        return hashlib.file_digest(opened, "sha256").hexdigest()


def tokenizer_digest(folder: Path) -> str:
    """SHA-256 in hex over the names and digests of the files in a tokenizer's folder. Raises WrongData: It is empty."""
    files = tuple(_files(folder))
    if not files:
        raise WrongData(f"{folder}: the tokenizer is missing: copy or prepare the shards again")
    return digest_of_files(files)


def _files(folder: Path) -> Iterable[File]:
    for path in sorted(folder.rglob("*")):
        if path.is_file():
            name = path.relative_to(folder).as_posix()
            yield File(name=name, size=path.stat().st_size, sha256=digest_of_file(path))
