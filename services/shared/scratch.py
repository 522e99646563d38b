"""Folders for work that is under way, gone when it ends; what a killed process left goes when the next one begins."""

import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from services.shared.folder_lock import FolderLock

_TRIES = 10


@contextmanager
def scratch(work: str) -> Iterator[Path]:
    """A new folder among the temporary ones, in use until the block is left. Raises OSError."""
    prefix = f"tidegate-{work}-"
    _clear(prefix)
    folder, lock = _new(prefix)
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        lock.release()


def _new(prefix: str) -> tuple[Path, FolderLock]:
    """One that was taken for abandoned before it was locked is made anew."""
    for _ in range(_TRIES):
        folder = Path(tempfile.mkdtemp(prefix=prefix))
        if lock := FolderLock.to_use(folder):
            return folder, lock
    raise OSError(f"{_TRIES} folders {prefix}* were removed as soon as they were made")


def _clear(prefix: str) -> None:
    """Those of other users, and what is no folder, stay."""
    for folder in Path(tempfile.gettempdir()).glob(f"{prefix}*"):
        with suppress(OSError):
            if lock := FolderLock.to_remove(folder):
                shutil.rmtree(folder, ignore_errors=True)
                lock.release()
