"""Temporary folders. The next process of the same kind removes those that a killed process left behind."""

import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from services.shared.folder_lock import FolderLock

_TRIES = 10


@contextmanager
def scratch(work: str) -> Iterator[Path]:
    """A temporary folder until the `with` block ends.

    Args:
        work: Kind of work; part of the folder's name.

    Yields:
        The folder.

    Raises:
        OSError: The folder cannot be made.
    """
    prefix = f"tidegate-{work}-"
    _clear(prefix)
    folder, lock = _new(prefix)
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        lock.release()


def _new(prefix: str) -> tuple[Path, FolderLock]:
    """Another process may remove the folder before it is locked; then a new one is made."""
    for _ in range(_TRIES):
        folder = Path(tempfile.mkdtemp(prefix=prefix))
        if lock := FolderLock.to_use(folder):
            return folder, lock
    raise OSError(f"{_TRIES} folders {prefix}* were removed as soon as they were created")


def _clear(prefix: str) -> None:
    """Removes abandoned folders. Folders of other users, and files, stay."""
    for folder in Path(tempfile.gettempdir()).glob(f"{prefix}*"):
        with suppress(OSError):
            if lock := FolderLock.to_remove(folder):
                shutil.rmtree(folder, ignore_errors=True)
                lock.release()
