"""What a model can be imported from."""

import re
from collections.abc import AsyncGenerator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol


class WrongSource(Exception):
    """The source cannot be found or read; the message says what would do."""


class Source(Protocol):
    """A place on this machine that a model can be imported from."""

    @property
    def name(self) -> str:
        """What the model is called unless the caller says otherwise."""
        ...

    @property
    def origin(self) -> str:
        """Where it comes from, for people; no path of this machine."""
        ...

    def prepare(self, scratch: Path) -> Path:
        """Returns a folder of safetensors, config.json and tokenizer files: `scratch`, or the source itself.

        Raises WrongSource.
        """
        ...


@dataclass(frozen=True, slots=True)
class RemoteFile:
    """A file elsewhere. `size` in bytes; `sha256` in hex, where that place knows it."""

    size: int
    sha256: str | None = None


@dataclass(frozen=True, slots=True)
class Listing:
    """What a remote place holds.

    Attributes:
        files: By name, with the folders in front.
        origin: Where they come from, exactly, for people.
        address: What people type to import it; with '/' and a file's name behind, that file.
        warnings: What people should know.
    """

    files: Mapping[str, RemoteFile]
    origin: str
    address: str
    warnings: tuple[str, ...] = ()


class Place(Protocol):
    """Where a remote model's files are."""

    async def listing(self) -> Listing:
        """The files. What is read later belongs to this state of them. Raises WrongSource."""
        ...

    def read(self, name: str) -> AsyncGenerator[bytes, None]:
        """The content of a file, in chunks. Raises WrongSource."""
        ...


@dataclass(frozen=True, slots=True)
class RemoteSource:
    """A place elsewhere that a model can be imported from, piece by piece.

    Attributes:
        name: What the model is called unless the caller says otherwise.
        place: Where its files are.
    """

    name: str
    place: Place


def model_name(text: str) -> str:
    """`text` as a registry name: small letters, digits, '.', '_' and '-', at most 63."""
    return re.sub(r"[^a-z0-9._-]+", "-", text.lower()).strip("-._")[:63] or "model"
