"""A folder that is in use, locked against whoever clears the disk; the lock ends with its process, even a killed one.

Locks are those of flock(2), on the folder itself.
"""

import fcntl
import os
from pathlib import Path
from typing import Self


class FolderLock:
    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor

    @classmethod
    def to_use(cls, folder: Path) -> Self | None:
        """One of many; None when there is no such folder, or it is being removed. Raises OSError."""
        return cls._taken(folder, fcntl.LOCK_SH)

    @classmethod
    def to_remove(cls, folder: Path) -> Self | None:
        """The only one; None when there is no such folder, or it is in use. Raises OSError."""
        return cls._taken(folder, fcntl.LOCK_EX)

    @classmethod
    def to_write(cls, folder: Path) -> Self | None:
        """The only one, as for removing."""
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

    def release(self) -> None:
        os.close(self._descriptor)

    def _is_of(self, folder: Path) -> bool:
        """False when the folder was removed, or made anew, before the lock was taken."""
        try:
            return os.path.samestat(os.fstat(self._descriptor), folder.stat())
        except FileNotFoundError:
            return False
