"""Model versions on this machine's disk: versions in use are locked; of the others only the latest used ones stay."""

import asyncio
import logging
import os
import re
import shutil
import tempfile
from collections.abc import Collection
from pathlib import Path

from services.shared.folder_lock import FolderLock
from services.shared.manifests import Manifest
from services.shared.objectstore import StoreError
from services.shared.staging import Stager

log = logging.getLogger(__name__)

_VERSION = re.compile(r"[0-9a-f]{64}")
# Folders that killed downloads and removals leave behind. Other names in the cache folder are not ours.
_UNFINISHED = (".part-", ".gone-")
_TRIES = 5


class ModelCache:
    """The folder of staged versions. Several workers may share it; none removes a version that another one uses."""

    def __init__(self, cache: Path, spare: int) -> None:
        """Uses the folder `cache`, where `spare` unused versions may stay."""
        self._cache, self._spare = cache, spare
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
        """Removes unfinished downloads, and unused versions except the `spare` latest used ones. Blocks meanwhile."""
        if not self._cache.is_dir():
            return
        folders = sorted((entry for entry in self._cache.iterdir() if entry.is_dir()), key=_used_at, reverse=True)
        unfinished = [folder for folder in folders if folder.name.startswith(_UNFINISHED)]
        unused = [folder for folder in folders if _VERSION.fullmatch(folder.name) and not self._in_use(folder)]
        for folder in (*unfinished, *unused[self._spare :]):
            self._remove(folder)

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


async def staged(stager: Stager, cache: ModelCache, manifest: Manifest) -> Path:
    """Stages a version into the cache's folder and locks it against removal.

    Raises:
        RefusedModel: The signature or a file is wrong.
        StoreError: The store failed.
        OSError: The disk failed.
    """
    folder = stager.folder_of(manifest)
    for _ in range(_TRIES):
        if not cache.hold(folder):
            await asyncio.to_thread(cache.sweep)
        await stager.stage(manifest)
        if cache.hold(folder):
            return folder
    raise StoreError(f"{folder} was removed {_TRIES} times in a row, as soon as it was staged")


def _used_at(folder: Path) -> float:
    try:
        return folder.stat().st_mtime
    except FileNotFoundError:
        return 0.0
