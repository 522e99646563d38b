"""Copies of the bucket in a folder, for backups.

`objects/` has every content once, under its SHA-256. Each copy is a folder beside it with an index, which says what was
in the bucket. So a second copy takes only what is new, and an old one is removed by removing its folder.
"""

import hashlib
import os
import re
from collections.abc import AsyncIterator, Iterable, Iterator
from pathlib import Path
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from services.shared.manifests import Sha256
from services.shared.objectstore import CHUNK_BYTES, Entry, Missing, ObjectStore, Progress

OBJECTS = "objects"
INDEX = "bucket.json"
DOCUMENT = ".json"
ALIASES = "/aliases/"
_NAME = re.compile(r"\.?[A-Za-z0-9][A-Za-z0-9._-]{0,127}")


class CopyError(Exception):
    """The copy cannot be made, or cannot be used."""


class Saved(BaseModel):
    """An object of a copy. `written` is when it was, in Unix seconds of the store's clock."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    sha256: Sha256
    size: Annotated[int, Field(ge=0)]
    written: float


class Index(BaseModel):
    """What was in the bucket, by name."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    objects: dict[str, Saved]

    @property
    def size(self) -> int:
        """Bytes of all objects."""
        return sum(saved.size for saved in self.objects.values())


class BucketCopies:
    """A folder with copies of a bucket."""

    def __init__(self, folder: Path) -> None:
        self._folder, self._objects = folder, folder / OBJECTS

    def index(self, name: str) -> Index:
        """The index of a copy.

        Raises:
            CopyError: There is no such copy, or its index does not parse.
        """
        file = self._folder / name / INDEX
        try:
            return Index.model_validate_json(file.read_bytes())
        except OSError as error:
            raise CopyError(f"{file}: {error.strerror}") from None
        except ValidationError as error:
            raise CopyError(f"{file} does not parse: {error}") from None

    def check(self, name: str) -> Index:
        """The index of a copy whose contents are all there. They are compared with their digests when they are read.

        Raises:
            CopyError: A content is missing or has another size.
        """
        index = self.index(name)
        for path, saved in index.objects.items():
            if not self._has(saved):
                raise CopyError(f"{path}: its content is not in {self._objects}, or not whole")
        return index

    async def save(self, store: ObjectStore, name: str, progress: Progress) -> Index:
        """Copies the whole bucket; `progress` is told the bytes that were fetched.

        Clients and publishers may go on. What refers to other objects is a JSON document. Those are copied first, and
        then all that a later listing has: so what a document of the copy refers to is in the copy too.

        Raises:
            CopyError: The name is wrong, or there is a copy of that name already.
            StoreError: The store failed; contents that were fetched are not fetched again.
        """
        if not _NAME.fullmatch(name) or name == OBJECTS:
            raise CopyError(f"{name!r} cannot be the name of a copy")
        place = self._folder / name / INDEX
        if place.exists():
            raise CopyError(f"{place} is there already: choose another name")
        self._objects.mkdir(parents=True, exist_ok=True)
        known = self._newest()
        found: dict[str, Saved] = {}
        for is_late in (False, True):
            for entry in [entry async for entry in store.entries("")]:
                if entry.name not in found and (is_late or entry.name.endswith(DOCUMENT)):
                    saved = await self._keep(store, entry, known.get(entry.name), progress)
                    if saved:
                        found[entry.name] = saved
        index = Index(objects=dict(sorted(found.items())))
        place.parent.mkdir(parents=True, exist_ok=True)
        _write(place, index.model_dump_json(indent=1).encode())
        return index

    async def restore(self, store: ObjectStore, name: str, progress: Progress) -> Index:
        """Writes a copy into the bucket; `progress` is told the bytes that were written. Other objects stay.

        Documents come last and aliases after them, so nobody finds half a version.

        Raises:
            CopyError: A content is missing, or is not what was saved.
            StoreError: The store failed.
        """
        index = self.check(name)
        for path in sorted(index.objects, key=_in_order):
            saved = index.objects[path]
            await store.write(path, self._content(path, saved, progress), saved.size)
        return index

    def sweep(self) -> int:
        """Removes contents that no copy needs. A copy that is being made is not known yet, so do not call it meanwhile.

        Returns:
            Their bytes.

        Raises:
            CopyError: An index does not parse.
        """
        needed = {saved.sha256 for index in self._indexes() for saved in index.objects.values()}
        freed = 0
        for file in self._objects.iterdir() if self._objects.is_dir() else ():
            if file.name not in needed:
                freed += file.stat().st_size
                file.unlink()
        return freed

    def _indexes(self) -> Iterator[Index]:
        """From the oldest to the newest."""
        files = sorted(self._folder.glob(f"*/{INDEX}"), key=lambda file: file.stat().st_mtime)
        return (self.index(file.parent.name) for file in files)

    def _newest(self) -> dict[str, Saved]:
        return {path: saved for index in self._indexes() for path, saved in index.objects.items()}

    async def _keep(self, store: ObjectStore, entry: Entry, known: Saved | None, progress: Progress) -> Saved | None:
        """The object's content under its digest; None if the object has gone meanwhile."""
        # A document may change within a second and keep its size. No other object ever changes.
        is_same = known and (known.size, known.written) == (entry.size, entry.written) and self._has(known)
        if is_same and not entry.name.endswith(DOCUMENT):
            return known
        partial = self._objects / "partial"
        try:
            sha256 = await store.download(entry.name, partial, progress)
        except Missing:
            return None
        size = partial.stat().st_size
        partial.replace(self._objects / sha256)
        return Saved(sha256=sha256, size=size, written=entry.written)

    def _has(self, saved: Saved) -> bool:
        file = self._objects / saved.sha256
        return file.is_file() and file.stat().st_size == saved.size

    async def _content(self, path: str, saved: Saved, progress: Progress) -> AsyncIterator[bytes]:
        """An upload that an error ends leaves no object."""
        digest = hashlib.sha256()
        for chunk in _chunks(self._objects / saved.sha256):
            digest.update(chunk)
            yield chunk
            progress(len(chunk))
        if digest.hexdigest() != saved.sha256:
            raise CopyError(f"{path}: its content is not what was saved")


def _in_order(path: str) -> tuple[bool, bool, str]:
    return ALIASES in path, path.endswith(DOCUMENT), path


def _chunks(file: Path) -> Iterable[bytes]:
    with file.open("rb") as source:
        while chunk := source.read(CHUNK_BYTES):
            yield chunk


def _write(file: Path, content: bytes) -> None:
    """Whole or not at all, also when the machine fails."""
    partial = file.with_name(f"{file.name}.partial")
    with partial.open("wb") as out:
        out.write(content)
        out.flush()
        os.fsync(out.fileno())
    partial.replace(file)
