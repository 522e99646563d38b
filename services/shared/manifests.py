"""The manifest of a model version: JSON that people can read in the bucket.

Layout of a bucket:

    <model>/<version>/<file>           weights (safetensors), config, tokenizer
    <model>/<version>/manifest.json    written last: without it the version does not exist
    <model>/aliases/<alias>.json       {"version": ..., "previous": ...}, moved by conditional PUT

A version is the SHA-256 of its manifest without version, signature, signer, publisher and creation time. So the name
proves the content, and publishing the same content twice gives one version.
"""

import hashlib
import json
import re
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, FiniteFloat, field_validator, model_validator

MANIFEST = "manifest.json"

Sha256 = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
_PART = r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}"
_FILE_NAME = re.compile(rf"{_PART}(/{_PART}){{0,3}}")
PUBLISHER = r"^[^\x00-\x1f\x7f]{1,128}$"
"""Form of a publisher's name: one short line."""
_NOT_OF_THE_CONTENT = {"version", "signature", "signer", "publisher", "created"}
FILE_NAMES = "letters, digits, '.', '_' and '-', below at most three folders"


class Stored(BaseModel):
    """Base of documents in the bucket: immutable, and unknown keys are refused."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class File(Stored):
    """A file of the version. `name` may name folders, with '/' between them. `size` is in bytes."""

    name: str
    size: int = Field(ge=0)
    sha256: Sha256

    @field_validator("name")
    @classmethod
    def _plain(cls, name: str) -> str:
        if not is_file_name(name):
            raise ValueError(f"a file name is {FILE_NAMES}")
        return name


class Golden(Stored):
    """A golden prompt: a prompt, and the tokens that the weights answer at temperature 0. It proves a load."""

    prompt_token_ids: tuple[int, ...]
    expected_token_ids: tuple[int, ...]


class Measured(Stored):
    """A figure of a version, and the same figure of the version that it was trained from."""

    value: FiniteFloat
    parent: FiniteFloat | None = None


class Training(Stored):
    """What a version was trained on. An example is one answer with all that came before it."""

    data_sha256: Sha256 = Field(description="SHA-256 of the data file; of nothing, where there was none")
    learnt: int = Field(ge=0, description="examples that the run learnt from")
    held_out: int = Field(ge=0, description="examples that it was measured with")
    cut: int = Field(ge=0, description="examples of both kinds whose answers were cut at the length limit")
    dropped: int = Field(ge=0, description="examples that were left out, since nothing of their answers was left")
    recipe: dict[str, Any] | None = Field(
        None,
        exclude_if=lambda recipe: recipe is None,
        description="the recipe, without its data and without where the result goes",
    )


DraftMethod = Literal["draft_model", "eagle", "eagle3", "medusa", "dflash", "dspark", "mtp"]
"""How a speculator drafts; the names are vLLM's."""


class Speculates(Stored):
    """What a speculator drafts for, and how. It may draft for every version of its target that keeps these facts."""

    target: str = Field(
        pattern=r"^[a-z0-9][a-z0-9._-]{0,62}@[0-9a-f]{64}$", description="the version it was made for: model@version"
    )
    vocab_size: int = Field(ge=1, description="of the target")
    tokenizer_sha256: Sha256 = Field(description="of the target")
    method: DraftMethod
    tokens: int = Field(ge=1, le=16, description="draft tokens in each engine step, unless a pool says otherwise")

    @property
    def model(self) -> str:
        """Name of the target."""
        return self.target.partition("@")[0]


class Manifest(Stored):
    """A model version, an adapter (LoRA) for one, or a speculator: a draft model or head."""

    schema_version: int = Field(1, ge=1, le=1)
    model: str = Field(pattern=r"^[a-z0-9][a-z0-9._-]{0,62}$")
    version: Sha256
    kind: Literal["model", "adapter", "speculator"] = "model"
    base: str | None = Field(
        None,
        pattern=r"^[a-z0-9][a-z0-9._-]{0,62}@[0-9a-f]{64}$",
        description="the model version that an adapter belongs to: model@version",
    )
    speculates: Speculates | None = Field(
        None, exclude_if=lambda speculates: speculates is None, description="only of a speculator"
    )
    created: int = Field(description="Unix seconds")
    architecture: str = Field(description="class name of the model, from its config")
    context_tokens: int = Field(ge=1)
    vocab_size: int = Field(ge=1)
    files: tuple[File, ...] = Field(min_length=1, max_length=4096)
    weights_sha256: Sha256 = Field(description="SHA-256 over the names and digests of the weight files")
    tokenizer_sha256: Sha256 = Field(description="SHA-256 over the names and digests of the tokenizer files")
    source: str = Field(description="what it was imported or trained from, for people")
    parent: Sha256 | None = Field(None, description="version that it was trained from")
    training_job: str | None = None
    # Left out where it is not known, so that manifests of older releases keep their digests.
    training: Training | None = Field(None, exclude_if=lambda training: training is None)
    evaluation: dict[str, FiniteFloat | Measured] = Field(default_factory=dict)
    golden: tuple[Golden, ...] = ()
    report: tuple[File, ...] = Field(
        (),
        max_length=16,
        exclude_if=lambda report: not report,
        description="the report of the run, for people; workers do not fetch it",
    )
    publisher: str | None = Field(
        None,
        pattern=PUBLISHER,
        exclude_if=lambda publisher: publisher is None,
        description="who published it, for people; not signed, as the time is not",
    )
    signer: str | None = Field(None, max_length=64, description="public key of the signer, base64")
    signature: str | None = Field(None, max_length=128, description="Ed25519 over the version, base64")

    @model_validator(mode="after")
    def _an_adapter_has_a_base(self) -> Self:
        if (self.kind == "adapter") != (self.base is not None):
            raise ValueError("an adapter must name its base, and nothing else may")
        if (self.kind == "speculator") != (self.speculates is not None):
            raise ValueError("a speculator must say what it drafts for, and nothing else may")
        return self

    def digest(self) -> str:
        """SHA-256 in hex of the canonical JSON without version, signature, signer, publisher and creation time."""
        return digest_of(self.model_dump(mode="json", exclude=_NOT_OF_THE_CONTENT))

    def to_json(self) -> bytes:
        """The content of manifest.json."""
        return self.model_dump_json(indent=2).encode()


class WrongManifest(Exception):
    """The manifest does not parse, or its version is not its digest."""


def make(**fields: Any) -> Manifest:
    """Builds a manifest from its fields; the version is computed."""
    draft = Manifest(version="0" * 64, **fields)
    return draft.model_copy(update={"version": draft.digest()})


def parse(document: bytes, *, expected_version: str) -> Manifest:
    """Parses and verifies manifest.json.

    Raises:
        WrongManifest: It does not parse, or it is not the expected version.
    """
    try:
        manifest = Manifest.model_validate_json(document)
    except ValueError as error:
        raise WrongManifest(f"manifest of {expected_version} does not parse: {error}") from None
    if not manifest.version == manifest.digest() == expected_version:
        raise WrongManifest(
            f"the manifest of {expected_version} is wrong: it names version {manifest.version} and its digest is "
            f"{manifest.digest()}"
        )
    return manifest


def digest_of(document: Any) -> str:
    """SHA-256 in hex of the canonical JSON of a document."""
    return hashlib.sha256(json.dumps(document, sort_keys=True, separators=(",", ":")).encode()).hexdigest()


def is_file_name(name: str) -> bool:
    """Whether a file of a version may be called so. Such a name never leads out of the version's folder."""
    return bool(_FILE_NAME.fullmatch(name))


def digest_of_files(files: tuple[File, ...]) -> str:
    """SHA-256 in hex over the names and digests of files."""
    return digest_of([[file.name, file.sha256] for file in sorted(files, key=lambda file: file.name)])
