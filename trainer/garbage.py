"""The garbage of the registry: versions that nobody needs any more, and what publishes left that never ended.

A version stays while it is needed, for some days after it was last published, and while it is among the last few of its
model. A publish counts as given up when nothing of it was written for UNFINISHED_S: its files without a manifest are no
version that anybody could see.
"""

from collections.abc import AsyncIterator, Collection, Iterable
from dataclasses import dataclass
from itertools import groupby, islice

from services.shared.manifests import MANIFEST, Manifest
from services.shared.objectstore import Entry, ObjectStore
from services.shared.registry import Pointer, Registry, is_version, object_name

UNFINISHED_S = 24 * 3600.0
DAY_S = 24 * 3600.0


@dataclass(frozen=True, slots=True)
class Folder:
    """All that lies under a model and a version. written: when the last of it was, in Unix seconds."""

    model: str
    version: str
    names: tuple[str, ...]
    size: int
    written: float

    @property
    def is_whole(self) -> bool:
        """The version has a manifest: its publishing came to an end."""
        return object_name(self.model, self.version, MANIFEST) in self.names


@dataclass(frozen=True, slots=True)
class Retention:
    """What stays although nobody needs it.

    Attributes:
        days: For how long a version stays after it was published.
        last: How many of the versions of a model that were published last stay, however old they are.
        now: Unix seconds.
    """

    days: float
    last: int
    now: float

    def of(self, folders: Iterable[Folder]) -> set[str]:
        """The versions that stay."""
        by_age = sorted(folders, key=lambda folder: (folder.model, folder.is_whole, -folder.written))
        kept = {folder.version for folder in by_age if not self._is_old(folder)}
        for (_, is_whole), found in groupby(by_age, key=lambda folder: (folder.model, folder.is_whole)):
            if is_whole:
                kept |= {folder.version for folder in islice(found, self.last)}
        return kept

    def _is_old(self, folder: Folder) -> bool:
        return self.now - folder.written > (self.days * DAY_S if folder.is_whole else UNFINISHED_S)


def pointed_to(pointers: Iterable[Pointer]) -> set[str]:
    """Where aliases point, and where a rollback would take them."""
    return {version for pointer in pointers for version in (pointer.version, pointer.previous) if version}


def bases(adapters: Iterable[Manifest], folders: Iterable[Folder], gone: Iterable[Folder]) -> set[str]:
    """Versions that the adapters which stay are for."""
    stay = {folder.version for folder in folders} - {folder.version for folder in gone}
    return {made.base.partition("@")[2] for made in adapters if made.base and made.version in stay}


class Garbage:
    """`in_use`: versions that workers serve, or are to serve."""

    def __init__(self, store: ObjectStore, in_use: Collection[str], retention: Retention) -> None:
        self._store, self._in_use, self._retention = store, frozenset(in_use), retention

    async def find(self) -> list[Folder]:
        """What may go. Raises StoreError, WrongManifest."""
        registry = Registry(self._store)
        folders = [folder async for folder in self._folders("")]
        adapters = [manifest async for manifest in registry.versions() if manifest.kind == "adapter"]
        kept = self._in_use | pointed_to((await registry.pointers()).values()) | self._retention.of(folders)
        gone = [folder for folder in folders if folder.version not in kept]
        kept |= bases(adapters, folders, gone)
        return [folder for folder in gone if folder.version not in kept]

    async def remove(self, folder: Folder) -> bool:
        """False: it is wanted again, or was written to since it was found; it stays. Raises StoreError."""
        pointers = await Registry(self._store).pointers()
        if folder.version in pointed_to(pointers.values()):
            return False
        if [folder] != [now async for now in self._folders(f"{folder.model}/{folder.version}/")]:
            return False
        # The manifest goes first: what is left of a removal that was stopped is no version.
        for name in sorted(folder.names, key=lambda name: not name.endswith(f"/{MANIFEST}")):
            await self._store.delete(name)
        return True

    async def _folders(self, prefix: str) -> AsyncIterator[Folder]:
        entries = sorted([entry async for entry in self._store.entries(prefix)], key=lambda entry: entry.name)
        for (model, version), files in groupby(entries, key=_place):
            if is_version(version):
                yield _folder(model, version, list(files))


def _place(entry: Entry) -> tuple[str, str]:
    model, _, rest = entry.name.partition("/")
    return model, rest.partition("/")[0]


def _folder(model: str, version: str, files: list[Entry]) -> Folder:
    names = tuple(file.name for file in files)
    return Folder(model, version, names, sum(file.size for file in files), max(file.written for file in files))
