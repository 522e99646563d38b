"""Model versions on this machine's disk: versions in use are locked; of the others only the latest used ones stay."""

import asyncio
import logging
import os
import re
import shutil
import stat
import tempfile
from collections.abc import Collection, Iterator
from contextlib import suppress
from pathlib import Path

from services.shared.clock import Clock, SystemClock
from services.shared.folder_lock import FolderLock
from services.shared.manifests import Manifest
from services.shared.objectstore import StoreError
from services.shared.staging import PART, Stager, Watcher
from services.worker.cache_room import Held, Inode, Room, to_remove

log = logging.getLogger(__name__)

_VERSION = re.compile(r"[0-9a-f]{64}")
# What a removal that was killed leaves behind. Other names in the cache folder are not ours.
_GONE = ".gone-"
_PART = re.compile(re.escape(PART) + _VERSION.pattern)
# Of a download that ended early, which the next one of the same version continues.
_PART_STAYS_S = 24 * 3600.0
_TRIES = 5
_BLOCK_BYTES = 512
"""Of st_blocks, whatever the file system's own are."""


class ModelCache:
    """The folder of staged versions. Several workers may share it; none removes a version that another one uses."""

    def __init__(self, cache: Path, spare: int, limit_bytes: int | None = None, *, clock: Clock | None = None) -> None:
        """Uses the folder `cache`, where `spare` unused versions may stay.

        Args:
            cache: The folder.
            spare: Unused versions that stay while there is room.
            limit_bytes: What the folder may hold; None: what the disk has.
            clock: For the age of downloads that ended early. Default: the system's clock.
        """
        self._cache, self._spare, self._limit = cache, spare, limit_bytes
        self._clock = clock or SystemClock()
        self._held: dict[Path, FolderLock] = {}

    def hold(self, folder: Path) -> bool:
        """Locks a version's folder for use by this worker.

        Returns:
            False when the folder does not exist or another worker is removing it.

        Raises:
            OSError: The disk failed.
        """
        if folder not in self._held:
            if (lock := FolderLock.to_use(folder)) is None:
                return False
            self._held[folder] = lock
        os.utime(folder)
        return True

    def keep(self, folders: Collection[Path]) -> None:
        """Unlocks all folders except these."""
        for folder in self._held.keys() - set(folders):
            self._held.pop(folder).release()

    def release(self, folder: Path) -> None:
        """Unlocks a folder; it does nothing if this worker does not hold it."""
        if lock := self._held.pop(folder, None):
            lock.release()

    def sweep(self) -> None:
        """Removes unused versions except the `spare` latest used ones, and what downloads and removals left behind.

        A download that ended early stays for a day, so that it can be continued. It blocks meanwhile.
        """
        folders = sorted(self._folders(), key=_used_at, reverse=True)
        left = [folder for folder in folders if _is_left_over(folder, self._clock.wall())]
        unused = [folder for folder in folders if _VERSION.fullmatch(folder.name) and not self._in_use(folder)]
        for folder in (*left, *unused[self._spare :]):
            self._remove(folder)

    def make_room(self, needed: int) -> None:
        """Removes what nobody uses until so many bytes fit: downloads that ended early, then versions, oldest first.

        Nothing is removed if that would not be enough. It blocks meanwhile.

        Raises:
            NoRoom: They do not fit.
            OSError: The disk failed.
        """
        free = shutil.disk_usage(self._cache).free
        held = [_held(folder, may_go=_is_ours(folder) and not self._in_use(folder)) for folder in self._folders()]
        for name in to_remove(held, needed, Room(free, self._limit)):
            self._remove(self._cache / name)

    def _folders(self) -> list[Path]:
        return [entry for entry in self._cache.iterdir() if entry.is_dir()] if self._cache.is_dir() else []

    def _in_use(self, folder: Path) -> bool:
        if lock := FolderLock.to_remove(folder):
            lock.release()
        return lock is None

    def _remove(self, folder: Path) -> None:
        """Renames the folder before it deletes the files, so other workers see a whole version or none."""
        if (lock := FolderLock.to_remove(folder)) is None:
            return
        try:
            trash = tempfile.mkdtemp(prefix=".gone-", dir=self._cache)
            folder.rename(trash)
            shutil.rmtree(trash)
            log.info("removed %s: no longer used", folder)
        finally:
            lock.release()


async def staged(stager: Stager, cache: ModelCache, manifest: Manifest, watcher: Watcher | None = None) -> Path:
    """Stages a version into the cache's folder and locks it against removal.

    Raises:
        RefusedModel: The signature or a file is wrong.
        StoreError: The store failed.
        NoRoom: The version does not fit on the disk.
        OSError: The disk failed.
    """
    folder = stager.folder_of(manifest)
    for _ in range(_TRIES):
        if not cache.hold(folder):
            await asyncio.to_thread(cache.sweep)
        await stager.stage(manifest, cache.make_room, watcher)
        if cache.hold(folder):
            return folder
    raise StoreError(f"{folder} was removed {_TRIES} times in a row, as soon as it was staged")


def _is_ours(folder: Path) -> bool:
    return bool(_VERSION.fullmatch(folder.name)) or folder.name.startswith((PART, _GONE))


def _is_left_over(folder: Path, now: float) -> bool:
    if _PART.fullmatch(folder.name):
        newest = max((status.st_mtime for status in _statuses(folder)), default=0.0)
        return now - max(_used_at(folder), newest) > _PART_STAYS_S
    return folder.name.startswith((PART, _GONE))


def _held(folder: Path, *, may_go: bool) -> Held:
    """Versions go last, those first that were used longest ago."""
    files: dict[Inode, int] = {}
    for status in _statuses(folder):
        if stat.S_ISREG(status.st_mode):
            files[status.st_dev, status.st_ino] = status.st_blocks * _BLOCK_BYTES
    return Held(folder.name, files, may_go, (int(bool(_VERSION.fullmatch(folder.name))), _used_at(folder)))


def _statuses(folder: Path) -> Iterator[os.stat_result]:
    """Of all that is in a folder. What is renamed or removed just now, the folder itself too, is left out."""
    for parent, folders, files in os.walk(folder):
        for name in (*folders, *files):
            with suppress(FileNotFoundError):
                yield (Path(parent) / name).lstat()


def _used_at(folder: Path) -> float:
    try:
        return folder.stat().st_mtime
    except FileNotFoundError:
        return 0.0
