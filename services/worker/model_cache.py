"""Versions on this machine's disk: those in use are locked, and of the others only the latest used ones stay."""

import logging
import os
import re
import shutil
import tempfile
from collections.abc import Collection
from pathlib import Path

from services.shared.folder_lock import FolderLock

log = logging.getLogger(__name__)

_VERSION = re.compile(r"[0-9a-f]{64}")
# What downloads and removals leave when they are killed. Whatever else is there is not ours.
_UNFINISHED = (".part-", ".gone-")


class ModelCache:
    """The folder that versions are staged in. Several workers may share it; none removes what another one uses."""

    def __init__(self, cache: Path, spare: int) -> None:
        """spare: versions that nobody uses and that stay all the same."""
        self._cache, self._spare = cache, spare
        self._held: dict[Path, FolderLock] = {}

    def hold(self, folder: Path) -> bool:
        """From now on it is in use here. False: it is not there, or somebody is just removing it. Raises OSError."""
        if folder not in self._held:
            if (lock := FolderLock.to_use(folder)) is None:
                return False
            self._held[folder] = lock
        os.utime(folder)
        return True

    def keep(self, folders: Collection[Path]) -> None:
        """Lets go of all others."""
        for folder in self._held.keys() - set(folders):
            self._held.pop(folder).release()

    def sweep(self) -> None:
        """Removes unused versions but for `spare`, and what downloads left that did not end. Blocks while it does."""
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
        """Renamed first: whoever looks for the version finds it whole, or not at all."""
        if (lock := FolderLock.to_remove(folder)) is None:
            return
        try:
            grave = tempfile.mkdtemp(prefix=".gone-", dir=self._cache)
            folder.rename(grave)
            shutil.rmtree(grave)
            log.info("removed %s: no longer used", folder)
        finally:
            lock.release()


def _used_at(folder: Path) -> float:
    try:
        return folder.stat().st_mtime
    except FileNotFoundError:
        return 0.0
