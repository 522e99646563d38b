"""Files from the object store to the disk: in parallel ranges, hashed while they are written, continued after a kill.

A file on the disk is always a beginning of the object: ranges arrive in any order, and are written in theirs. So the
size of the file says where to go on, and nothing that was written is fetched again. Memory is bounded by the ranges
that are fetched at the same time.
"""

import asyncio
import hashlib
import logging
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from random import Random

from typing_extensions import Buffer

from services.shared.backoff import backoff
from services.shared.clock import Clock
from services.shared.lifecycle import unbroken
from services.shared.objectstore import Missing, ObjectStore, StoreError

log = logging.getLogger(__name__)

RANGE_BYTES = 8 * 1024 * 1024
_SMALLEST_RANGE = 64 * 1024
_READ_BYTES = 4 * 1024 * 1024
# A range is cut so that one takes at most this long at the allowed speed: bytes arrive all the time.
_RANGE_S = 2.0
# Parts of the limit after which a connection that brings nothing is given up, and the range asked for again.
_TRIES_IN_LIMIT = 3
# Of a range, one after the other.
_TRIES = 4


class Stalled(StoreError):
    """No byte came for the whole time that is allowed."""


class WrongSize(Exception):
    """The object does not have the size that it should have."""


@dataclass(frozen=True, slots=True)
class TransferLimits:
    """How files may be fetched.

    Attributes:
        ranges: Ranges that are fetched at the same time. Each takes RANGE_BYTES of memory.
        bytes_per_s: The highest speed of all of them together; None: as fast as the store is.
        stall_s: Seconds without a byte after which a fetch fails.
    """

    ranges: int = 8
    bytes_per_s: float | None = None
    stall_s: float = 60.0

    @property
    def range_bytes(self) -> int:
        """The size of a range."""
        if self.bytes_per_s is None:
            return RANGE_BYTES
        return max(_SMALLEST_RANGE, min(RANGE_BYTES, int(self.bytes_per_s * _RANGE_S)))


class Transfer:
    """Fetches files within limits, which count for all files that it fetches at the same time."""

    def __init__(self, store: ObjectStore, limits: TransferLimits, *, clock: Clock, random: Random) -> None:
        """`clock` and `random` are for the pace, and for the delays between tries."""
        self._store, self._limits, self._clock, self._random = store, limits, clock, random
        self._slots = asyncio.Semaphore(limits.ranges)
        self._free_at = 0.0

    async def fetch(self, name: str, size: int, place: Path, progress: Callable[[int], None]) -> str:
        """Fetches what is missing of a file.

        Args:
            name: The object.
            size: Bytes that it must have.
            place: The file. What is there already must be the beginning of the object.
            progress: Is told the bytes that are there, and then those that have arrived.

        Returns:
            SHA-256 of the whole file, in hex.

        Raises:
            WrongSize: The object has another size.
            Missing: There is no such object.
            Stalled: No byte came for the time of the limits.
            StoreError: The store failed several times in a row.
            OSError: The disk failed.
        """
        digest = hashlib.sha256()
        done = await _stoppable(lambda stop: _read_beginning(place, size, digest, stop))
        progress(done)
        if done == size and size:
            return digest.hexdigest()
        fetching = _File(name, size, place, digest, done, progress, self._limits)
        try:
            async with asyncio.timeout(self._limits.stall_s) as stall, asyncio.TaskGroup() as group:
                fetching.watch(stall)
                for _ in range(min(self._limits.ranges, fetching.count)):
                    group.create_task(self._work(fetching))
        except TimeoutError:
            raise Stalled(f"{name}: no byte came for {self._limits.stall_s:g} s") from None
        except ExceptionGroup as errors:
            raise errors.exceptions[0] from None
        return digest.hexdigest()

    async def _work(self, file: "_File") -> None:
        """Takes one range after the other. A slot is held until its range is written, which bounds the memory."""
        for begin, end in file.ranges:
            async with self._slots:
                await self._pace(end - begin)
                chunks = await self._range(file, begin, end)
                await file.write(begin, end, chunks)

    async def _range(self, file: "_File", begin: int, end: int) -> list[Buffer]:
        """Asks a few times. Raises StoreError."""
        for delay in islice(backoff(self._random, first_s=0.1, cap_s=3.0), _TRIES - 1):
            try:
                return await self._range_once(file, begin, end)
            except Missing:
                raise
            except StoreError as error:
                log.warning("%s: the object store failed (%s); asking again in %.1f s", file.name, error, delay)
            await self._clock.sleep(delay)
        return await self._range_once(file, begin, end)

    async def _range_once(self, file: "_File", begin: int, end: int) -> list[Buffer]:
        limit_s = self._limits.stall_s / _TRIES_IN_LIMIT
        chunks: list[Buffer] = []
        try:
            async with asyncio.timeout(limit_s) as limit:
                whole, stream = await self._store.open_range(file.name, begin, end)
                if whole != file.size:
                    raise WrongSize(f"{file.name} has {whole} bytes")
                async for chunk in stream:
                    chunks.append(chunk)
                    limit.reschedule(asyncio.get_running_loop().time() + limit_s)
                    file.heard()
        except TimeoutError:
            raise StoreError(f"{file.name}: no byte came for {limit_s:g} s") from None
        if (got := sum(memoryview(chunk).nbytes for chunk in chunks)) != end - begin:
            raise StoreError(f"{file.name}: the store sent {got} bytes instead of {end - begin}")
        return chunks

    async def _pace(self, count: int) -> None:
        """Waits for the time at which so many bytes more may be asked for."""
        if self._limits.bytes_per_s is None:
            return
        now = self._clock.monotonic()
        begin = max(now, self._free_at)
        self._free_at = begin + count / self._limits.bytes_per_s
        if begin > now:
            await self._clock.sleep(begin - now)


class _File:
    """One file on its way."""

    def __init__(
        self,
        name: str,
        size: int,
        place: Path,
        digest: "hashlib._Hash",
        done: int,
        progress: Callable[[int], None],
        limits: TransferLimits,
    ) -> None:
        self.name, self.size = name, size
        self._place, self._digest, self._progress, self._limits = place, digest, progress, limits
        self._written = done
        self._turn = asyncio.Condition()
        self._stall: asyncio.Timeout | None = None
        steps = range(done, size, limits.range_bytes) if size else range(1)
        self.count = len(steps)
        self.ranges: Iterator[tuple[int, int]] = ((at, min(at + limits.range_bytes, size)) for at in steps)

    def watch(self, stall: asyncio.Timeout) -> None:
        """Whatever arrives from now on puts the end of the time off."""
        self._stall = stall

    def heard(self) -> None:
        """A byte has come."""
        if self._stall and not self._stall.expired():
            self._stall.reschedule(asyncio.get_running_loop().time() + self._limits.stall_s)

    async def write(self, begin: int, end: int, chunks: list[Buffer]) -> None:
        """Writes a range when those before it are written. Raises OSError."""
        async with self._turn:
            await self._turn.wait_for(lambda: self._written == begin)
            # In a thread, because a process that serves streams meanwhile must not block them.
            # To its end: a file that is still written to must not be taken up by the next try.
            await unbroken(asyncio.to_thread(_append, self._place, chunks, self._digest))
            self._written = end
            self.heard()
            self._progress(end - begin)
            self._turn.notify_all()


async def _stoppable(work: Callable[[threading.Event], int]) -> int:
    """Runs work in a thread. A cancellation tells the thread to stop and waits: then nothing touches the disk."""
    stop = threading.Event()
    running = asyncio.ensure_future(asyncio.to_thread(work, stop))
    try:
        return await asyncio.shield(running)
    except asyncio.CancelledError:
        stop.set()
        await unbroken(asyncio.wait({running}))
        raise


def _read_beginning(place: Path, size: int, digest: "hashlib._Hash", stop: threading.Event) -> int:
    """Hashes what is there of a file; a file that is too long is emptied. Returns the bytes that are there."""
    place.parent.mkdir(parents=True, exist_ok=True)
    place.touch()
    if place.stat().st_size > size:
        place.write_bytes(b"")
    with place.open("rb") as there:
        while not stop.is_set() and (chunk := there.read(_READ_BYTES)):
            digest.update(chunk)
        return there.tell()


def _append(place: Path, chunks: list[Buffer], digest: "hashlib._Hash") -> None:
    with place.open("ab") as out:
        for chunk in chunks:
            out.write(chunk)
            digest.update(chunk)
