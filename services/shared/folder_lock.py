"""Locks on folders: a folder that is in use is not removed. A lock ends with its process, even if it is killed.

The locks are those of flock(2), on the folder itself.
"""

import fcntl
import os
from pathlib import Path
from typing import Self


class FolderLock:
    """A lock that is held until `release`, or until the process ends."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor

    @classmethod
    def to_use(cls, folder: Path) -> Self | None:
        """A shared lock: several processes may use the folder.

        Returns:
            None when the folder does not exist or is being removed.

        Raises:
            OSError: The file system does not support locks.
        """
        return cls._taken(folder, fcntl.LOCK_SH)

    @classmethod
    def to_remove(cls, folder: Path) -> Self | None:
        """An exclusive lock.

        Returns:
            None when the folder does not exist or is in use.

        Raises:
            OSError: The file system does not support locks.
        """
        return cls._taken(folder, fcntl.LOCK_EX)

    @classmethod
    def to_write(cls, folder: Path) -> Self | None:
        """An exclusive lock, as for removing."""
        return cls.to_remove(folder)

    @classmethod
    def _taken(cls, folder: Path, kind: int) -> Self | None:
        try:
            lock = cls(os.open(folder, os.O_RDONLY | os.O_DIRECTORY))
        except FileNotFoundError:
            return None
        try:
            fcntl.flock(lock._descriptor, kind | fcntl.LOCK_NB)
            if lock._is_of(folder):
                return lock
        except BlockingIOError:
            pass
        except OSError as error:
            lock.release()
            raise OSError(error.errno, f"the folder cannot be locked: {error.strerror}", str(folder)) from None
        lock.release()
        return None

    def share(self) -> None:
        """From now on others may use the folder too."""
        fcntl.flock(self._descriptor, fcntl.LOCK_SH)

    def release(self) -> None:
        """Gives the lock up."""
        os.close(self._descriptor)

    def _is_of(self, folder: Path) -> bool:
        """False when the folder was removed or replaced before the lock was taken."""
        try:
            return os.path.samestat(os.fstat(self._descriptor), folder.stat())
        except FileNotFoundError:
            return False
