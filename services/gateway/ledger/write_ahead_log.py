"""The write-ahead log: rows on their way to the database, in append-only files. No kill and no outage loses one.

A request leaves two lines. The first is written when the request is accepted, and says that its gateway was lost; the
second says how the request ended. A line is in the operating system's hands before the answer ends, so kill -9 takes
none; `sync` brings it to the disk. A file is removed when all its rows are in the database and all its requests have
ended. So a process that takes over the log of a dead one finds every request that the database may lack.
"""

import logging
import os
import shutil
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from random import Random

from services.gateway.ledger.entry import Row
from services.shared.folder_lock import FolderLock

log = logging.getLogger(__name__)

SEGMENT_BYTES = 1024 * 1024
# About a hundred rows: the time that they take delays no stream noticeably.
READ_BYTES = 64 * 1024
# More than one request writes. While the request runs, this much is kept free for its second line.
REQUEST_BYTES = 4096
SUFFIX = ".jsonl"
NAMES_TRIED = 10


@dataclass(slots=True)
class Segment:
    """One file.

    Attributes:
        size: bytes in the file.
        written: bytes from the start whose rows are in the database.
        synced: bytes from the start that are surely on the disk.
        running: ids of requests that began in this file and have not ended.
    """

    path: Path
    descriptor: int
    size: int = 0
    written: int = 0
    synced: int = 0
    running: set[str] = field(default_factory=set)

    @property
    def settled(self) -> bool:
        """Nobody needs the file any more."""
        return self.written == self.size and not self.running


@dataclass(frozen=True, slots=True)
class Batch:
    """Rows that were read together from a segment, which go up to byte `end`."""

    rows: list[Row]
    segment: Segment
    end: int


class WriteAheadLog:
    """The log of this process. Its methods raise OSError when the disk does not take a line.

    Args:
        root: where every gateway of this machine has a folder of its own.
        max_bytes: of all files together.
    """

    def __init__(self, root: Path, max_bytes: int, random: Random) -> None:
        self.folder, self._lock = _own_folder(root, random)
        self._max_bytes = max_bytes
        self._segments: deque[Segment] = deque()
        self._running: dict[str, Segment] = {}
        self._numbers = 0
        self.unwritten_rows = 0
        self._active = self._new_segment()

    @property
    def size(self) -> int:
        """Bytes of all files together."""
        return sum(segment.size for segment in self._segments)

    @property
    def has_room(self) -> bool:
        """One more request fits, with what the running requests will still write."""
        return self.size + (len(self._running) + 1) * REQUEST_BYTES <= self._max_bytes

    def accepted(self, row: Row) -> None:
        """Writes the first line of a request."""
        self._append(row)
        self._active.running.add(row.request_id)
        self._running[row.request_id] = self._active

    def ended(self, row: Row) -> None:
        """Writes the last line of a request."""
        self._append(row)
        self.unwritten_rows += 1
        if segment := self._running.pop(row.request_id, None):
            segment.running.discard(row.request_id)

    def unwritten(self) -> Batch | None:
        """The oldest rows that the database does not have; None when it has all."""
        for segment in self._segments:
            if segment.written < segment.size:
                return _read(segment)
        return None

    def wrote(self, batch: Batch) -> None:
        """Notes that the database has these rows for good, and removes files that nobody needs any more."""
        batch.segment.written = batch.end
        self.unwritten_rows -= len(batch.rows)
        self._remove_settled()

    def unsynced(self) -> list[Segment]:
        """Files with lines that may not be on the disk yet."""
        return [segment for segment in self._segments if segment.synced < segment.size]

    def close(self) -> None:
        """Removes settled files; the others stay for the process that takes the log over."""
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

    def _remove_settled(self) -> None:
        for segment in [segment for segment in self._segments if segment.settled]:
            if segment is self._active:
                os.ftruncate(segment.descriptor, 0)
                segment.size = segment.written = segment.synced = 0
            else:
                self._segments.remove(segment)
                os.close(segment.descriptor)
                segment.path.unlink()


class OrphanedLog:
    """The log of a process that is dead. This process holds it until `release`."""

    def __init__(self, folder: Path, lock: FolderLock) -> None:
        self.folder, self._lock = folder, lock

    def rows(self) -> Iterator[Row]:
        """The last row of every request. Requests that never ended come last."""
        running: dict[str, Row] = {}
        for row in self._lines():
            if row.is_final:
                running.pop(row.request_id, None)
                yield row
            else:
                running[row.request_id] = row
        yield from running.values()

    def remove(self) -> None:
        """Removes the log with its folder."""
        shutil.rmtree(self.folder)

    def release(self) -> None:
        """Lets other processes have it."""
        self._lock.release()

    def _lines(self) -> Iterator[Row]:
        for file in sorted(self.folder.glob(f"*{SUFFIX}")):
            with file.open("rb") as lines:
                for line in lines:
                    try:
                        yield Row.of_line(line)
                    except ValueError:
                        # The machine went down while the line was written, before its request's answer had ended.
                        log.warning("an incomplete line of a write-ahead log is skipped", extra={"file": file.name})


def take_over(root: Path) -> OrphanedLog | None:
    """Takes one of the logs under `root` whose process is dead; None when all are in use."""
    for folder in sorted(root.iterdir()):
        if folder.is_dir() and (lock := FolderLock.to_remove(folder)):
            return OrphanedLog(folder, lock)
    return None


def sync(segments: list[Segment]) -> None:
    """Blocks until the disk has the files' lines; for another thread. Raises OSError."""
    for segment in segments:
        size = segment.size
        os.fdatasync(segment.descriptor)
        segment.synced = size


def _own_folder(root: Path, random: Random) -> tuple[Path, FolderLock]:
    """Another process may take a new folder for a dead process's before it is locked; then another name is tried."""
    for _ in range(NAMES_TRIED):
        folder = root / f"{random.getrandbits(64):016x}"
        try:
            folder.mkdir(mode=0o700, parents=True)
        except FileExistsError:
            continue
        if lock := FolderLock.to_use(folder):
            return folder, lock
    raise OSError(f"no folder for the write-ahead log could be made in {root}")


def _read(segment: Segment) -> Batch:
    """Rows that say how requests ended; the ends of the others will follow. This process's lines are always whole."""
    block = os.pread(segment.descriptor, min(READ_BYTES, segment.size - segment.written), segment.written)
    lines = block[: block.rindex(b"\n") + 1]
    rows = [row for row in map(Row.of_line, lines.splitlines()) if row.is_final]
    return Batch(rows, segment, segment.written + len(lines))
