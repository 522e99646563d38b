"""A model that is published from where it is, piece by piece, without a copy on this disk.

A version's name is the digest of its files' digests, so those come first. The hub tells the digests of large files.
Small files are kept in memory. Any other file is read twice: to measure it, and to publish it. Weights are checked as
they pass by.
"""

import asyncio
import hashlib
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import aclosing
from dataclasses import dataclass
from pathlib import Path

from services.shared.architectures import known_architectures
from services.shared.manifests import File
from trainer.errors import WrongCheckpoint
from trainer.model_config import Examined, ModelConfig, documents_of, examine
from trainer.parallel import each
from trainer.publish import FILES_AT_ONCE, file_with
from trainer.selection import OnlyGguf, Selection, index_name, select, weight_map
from trainer.sources.source import Listing, Place
from trainer.weights import WeightsStream

MAX_KEPT_BYTES = 16 << 20
"""Of one file that is kept in memory. Tokenizers have more at times, and are read twice then."""
MAX_DOCUMENT_BYTES = 64 << 20
"""Of the index and the configuration files, which are always read whole."""

Progress = Callable[[int], None]


@dataclass(frozen=True, slots=True)
class Streamed:
    """A model elsewhere whose configuration was found to be good.

    Attributes:
        place: Where its files are.
        listing: What else is there.
        selection: The files to publish.
        examined: What its configuration says.
        tensors: Tensors that the index looks for, by file.
        kept: Files that are in memory already, as they will be published.
    """

    place: Place
    listing: Listing
    selection: Selection
    examined: Examined
    tensors: Mapping[str, frozenset[str]]
    kept: Mapping[str, bytes]

    @property
    def config(self) -> ModelConfig:
        """config.json."""
        return self.examined.config

    @property
    def warnings(self) -> tuple[str, ...]:
        """What people should know."""
        return (*self.listing.warnings, *self.examined.warnings)

    @property
    def size(self) -> int:
        """Bytes of all files."""
        return sum(self.size_of(name) for name in self.selection.names)

    @property
    def unmeasured(self) -> tuple[str, ...]:
        """Files that must be read once before the version can be named."""
        return tuple(
            name for name in self.selection.names if name not in self.kept and not self.listing.files[name].sha256
        )

    def size_of(self, name: str) -> int:
        """Bytes of a file as it is published."""
        return len(self.kept[name]) if name in self.kept else self.listing.files[name].size

    async def files(self, progress: Progress) -> dict[str, File]:
        """Every file with its digest; `progress` is told the bytes of those that have to be read for it.

        Raises WrongCheckpoint, WrongSource.
        """
        measured = await each(self.unmeasured, lambda name: self._measured(name, progress), FILES_AT_ONCE)
        known = {name: self._known(name) for name in self.selection.names if name not in measured}
        return {**known, **measured}

    async def read(self, name: str) -> AsyncIterator[bytes]:
        """The content of a file, checked if it holds weights. Raises WrongCheckpoint, WrongSource."""
        if name in self.kept:
            yield self.kept[name]
            return
        check = WeightsStream(name, self.tensors.get(name, frozenset())) if name in self.selection.weights else None
        async with aclosing(self.place.read(name)) as chunks:
            async for chunk in chunks:
                if check:
                    await asyncio.to_thread(check.feed, chunk)
                yield chunk
        if check:
            check.end()

    async def save(self, folder: Path, progress: Progress) -> None:
        """Writes all files into `folder`. Raises WrongCheckpoint, WrongSource, OSError."""

        async def save(name: str) -> None:
            place = folder / name
            place.parent.mkdir(parents=True, exist_ok=True)
            with place.open("wb") as out:
                async for chunk in self.read(name):
                    await asyncio.to_thread(out.write, chunk)
                    progress(len(chunk))

        await each(self.selection.names, save, FILES_AT_ONCE)

    def _known(self, name: str) -> File:
        if name in self.kept:
            return file_with(name, self.kept[name])
        found = self.listing.files[name]
        return File(name=name, size=found.size, sha256=found.sha256 or "")

    async def _measured(self, name: str, progress: Progress) -> File:
        digest, size = hashlib.sha256(), 0
        async for chunk in self.read(name):
            await asyncio.to_thread(digest.update, chunk)
            size += len(chunk)
            progress(len(chunk))
        return File(name=name, size=size, sha256=digest.hexdigest())


async def find(place: Place) -> Streamed:
    """Selects the files of the model that is at `place`, and checks its configuration.

    Raises WrongCheckpoint, WrongSource.
    """
    listing = await place.listing()
    index = index_name(listing.files)
    content = await _document(place, index) if index else b""
    tensors = weight_map(index, content) if index else {}
    try:
        selection = select(listing.files.keys(), (index, set(tensors.values())) if index else None)
    except OnlyGguf as error:
        raise error.at(listing.address) from None
    small = [name for name in selection.names if _is_kept(name, listing, selection)]
    kept = await each(small, lambda name: _document(place, name), FILES_AT_ONCE)
    examined = examine(selection, kept, known_architectures())
    return Streamed(place, listing, selection, examined, _by_file(tensors), {**kept, **examined.rewritten})


def _is_kept(name: str, listing: Listing, selection: Selection) -> bool:
    """Configuration files are read anyway. Weights never stay in memory."""
    if name in documents_of(selection):
        return True
    found = listing.files[name]
    return name not in selection.weights and not found.sha256 and found.size <= MAX_KEPT_BYTES


async def _document(place: Place, name: str) -> bytes:
    """The whole content of a file that fits into memory. Raises WrongCheckpoint, WrongSource."""
    content = bytearray()
    async with aclosing(place.read(name)) as chunks:
        async for chunk in chunks:
            content += chunk
            if len(content) > MAX_DOCUMENT_BYTES:
                raise WrongCheckpoint(f"{name} has more than {MAX_DOCUMENT_BYTES} bytes")
    return bytes(content)


def _by_file(tensors: Mapping[str, str]) -> dict[str, frozenset[str]]:
    found: dict[str, set[str]] = {}
    for tensor, file in tensors.items():
        found.setdefault(file, set()).add(tensor)
    return {file: frozenset(names) for file, names in found.items()}
