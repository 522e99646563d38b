"""Rows on their way to the database, in append-only files: whatever is killed or away, none of them is lost.

A request leaves two lines: one when it is accepted, which says that its gateway was lost, and one that says what became
of it. A line is in the system's hands before the answer ends, so kill -9 takes none; `sync` gives it to the disk.
A file goes when all its rows are in the database and all its requests have ended, so that a process that takes over
the files of a dead one (leftovers.py) finds every request that may be missing there.
"""

import os
from collections import deque
from dataclasses import dataclass, field
from pathlib import Path
from random import Random

from services.gateway.ledger.row import Row
from services.shared.folder_lock import FolderLock

SEGMENT_BYTES = 1024 * 1024
# About a hundred rows: what is done with them at once holds up nobody's stream.
READ_BYTES = 64 * 1024
# What one request writes, generously: room for its second line is kept while it runs.
REQUEST_BYTES = 4096
SUFFIX = ".jsonl"
NAMES_TRIED = 10


@dataclass(slots=True)
class Segment:
    """written: bytes whose rows are in the database. running: requests that began here and have not ended."""

    path: Path
    descriptor: int
    size: int = 0
    written: int = 0
    synced: int = 0
    running: set[str] = field(default_factory=set)

    @property
    def settled(self) -> bool:
        return self.written == self.size and not self.running


@dataclass(frozen=True, slots=True)
class Batch:
    rows: list[Row]
    segment: Segment
    end: int


class WriteAheadLog:
    """The files of this process. Raises OSError when the disk does not take a line."""

    def __init__(self, root: Path, max_bytes: int, random: Random) -> None:
        """root: where every gateway of this machine has a folder of its own. max_bytes: of all files together."""
        self.folder, self._lock = _own_folder(root, random)
        self._max_bytes = max_bytes
        self._segments: deque[Segment] = deque()
        self._running: dict[str, Segment] = {}
        self._numbers = 0
        self.unwritten_rows = 0
        self._active = self._new_segment()

    @property
    def size(self) -> int:
        return sum(segment.size for segment in self._segments)

    @property
    def has_room(self) -> bool:
        """For one more request, with what those that run will write."""
        return self.size + (len(self._running) + 1) * REQUEST_BYTES <= self._max_bytes

    def accepted(self, row: Row) -> None:
        self._append(row)
        self._active.running.add(row.request_id)
        self._running[row.request_id] = self._active

    def ended(self, row: Row) -> None:
        self._append(row)
        self.unwritten_rows += 1
        if segment := self._running.pop(row.request_id, None):
            segment.running.discard(row.request_id)

    def unwritten(self) -> Batch | None:
        """The oldest rows that the database does not have; None when there are none."""
        for segment in self._segments:
            if segment.written < segment.size:
                return _read(segment)
        return None

    def wrote(self, batch: Batch) -> None:
        """The database has them for good."""
        batch.segment.written = batch.end
        self.unwritten_rows -= len(batch.rows)
        self._tidy()

    def unsynced(self) -> list[Segment]:
        return [segment for segment in self._segments if segment.synced < segment.size]

    def close(self) -> None:
        """What is settled goes; the rest stays for whoever comes next."""
        for segment in self._segments:
            os.close(segment.descriptor)
            if segment.settled:
                segment.path.unlink()
        if all(segment.settled for segment in self._segments):
            self.folder.rmdir()
        self._lock.release()

    def _append(self, row: Row) -> None:
        if self._active.size >= SEGMENT_BYTES:
            self._active = self._new_segment()
        line = row.line()
        if os.write(self._active.descriptor, line) != len(line):
            os.ftruncate(self._active.descriptor, self._active.size)
            raise OSError("the disk is full")
        self._active.size += len(line)

    def _new_segment(self) -> Segment:
        self._numbers += 1
        path = self.folder / f"{self._numbers:09}{SUFFIX}"
        segment = Segment(path, os.open(path, os.O_CREAT | os.O_EXCL | os.O_RDWR | os.O_APPEND, 0o600))
        self._segments.append(segment)
        return segment

    def _tidy(self) -> None:
        for segment in [segment for segment in self._segments if segment.settled]:
            if segment is self._active:
                os.ftruncate(segment.descriptor, 0)
                segment.size = segment.written = segment.synced = 0
            else:
                self._segments.remove(segment)
                os.close(segment.descriptor)
                segment.path.unlink()


def _own_folder(root: Path, random: Random) -> tuple[Path, FolderLock]:
    """Who tidies up may take a new folder for a dead process's before it is locked; then there is another name."""
    for _ in range(NAMES_TRIED):
        folder = root / f"{random.getrandbits(64):016x}"
        try:
            folder.mkdir(mode=0o700, parents=True)
        except FileExistsError:
            continue
        if lock := FolderLock.to_use(folder):
            return folder, lock
    raise OSError(f"no folder for the journal could be made in {root}")


def sync(segments: list[Segment]) -> None:
    """Blocks until the disk has them; for another thread. Raises OSError."""
    for segment in segments:
        size = segment.size
        os.fdatasync(segment.descriptor)
        segment.synced = size


def _read(segment: Segment) -> Batch:
    """Rows that say how requests ended; the others' own ends are still to come. Our own lines are always whole."""
    block = os.pread(segment.descriptor, min(READ_BYTES, segment.size - segment.written), segment.written)
    lines = block[: block.rindex(b"\n") + 1]
    rows = [row for row in map(Row.of_line, lines.splitlines()) if row.is_final]
    return Batch(rows, segment, segment.written + len(lines))
