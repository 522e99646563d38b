"""Journals whose processes are dead: their rows still belong into the database."""

import logging
import shutil
from collections.abc import Iterator
from pathlib import Path

from services.gateway.ledger.row import Row
from services.gateway.ledger.write_ahead_log import SUFFIX
from services.shared.folder_lock import FolderLock

log = logging.getLogger(__name__)


class OrphanedLog:
    """The journal of a process that is gone, held by this one until it is released."""

    def __init__(self, folder: Path, lock: FolderLock) -> None:
        self.folder, self._lock = folder, lock

    def rows(self) -> Iterator[Row]:
        """Every request's last line; those that never ended come last."""
        running: dict[str, Row] = {}
        for row in self._lines():
            if row.is_final:
                running.pop(row.request_id, None)
                yield row
            else:
                running[row.request_id] = row
        yield from running.values()

    def _lines(self) -> Iterator[Row]:
        for file in sorted(self.folder.glob(f"*{SUFFIX}")):
            with file.open("rb") as lines:
                for line in lines:
                    try:
                        yield Row.of_line(line)
                    except ValueError:
                        # The machine went down while it was written, before its answer had ended.
                        log.warning("a torn line in a journal is left out", extra={"file": file.name})

    def remove(self) -> None:
        shutil.rmtree(self.folder)

    def release(self) -> None:
        self._lock.release()


def take_over(root: Path) -> OrphanedLog | None:
    """One of the journals under `root` whose process is dead; None when all are in use."""
    for folder in sorted(root.iterdir()):
        if folder.is_dir() and (lock := FolderLock.to_remove(folder)):
            return OrphanedLog(folder, lock)
    return None
