"""A file on the disk is always a beginning of the object, whatever stops the fetch; the next one goes on there."""

import asyncio
import hashlib
import threading
from collections.abc import AsyncIterator
from pathlib import Path
from random import Random

import pytest
from obstore.store import MemoryStore
from typing_extensions import Buffer

from services.shared import transfer
from services.shared.clock import SystemClock
from services.shared.objectstore import Missing, ObjectStore, StoreError
from services.shared.transfer import Stalled, Transfer, TransferLimits, WrongSize
from tests.support.clock import ManualClock
from tests.support.wait import wait_until

CONTENT = Random(1).randbytes(1_000_000)
RANGE = 65_536
SHA256 = hashlib.sha256(CONTENT).hexdigest()


@pytest.fixture(autouse=True)
def small_ranges(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(transfer, "RANGE_BYTES", RANGE)


class Counting(ObjectStore):
    """Notes the ranges that were sent to their end. `fails`: at which ranges, in order; `hangs`: from which byte on."""

    def __init__(self, content: bytes = CONTENT, fails: tuple[int, ...] = (), hangs: int | None = None) -> None:
        super().__init__(MemoryStore())
        self._content, self._fails, self._hangs = content, fails, hangs
        self.sent: list[tuple[int, int]] = []
        self.asked = self.open = self.most_open = 0

    async def fill(self) -> "Counting":
        await self.put_new("file", self._content)
        return self

    async def open_range(self, name: str, begin: int, end: int) -> tuple[int, AsyncIterator[Buffer]]:
        self.asked += 1
        if self.asked in self._fails:
            raise StoreError("no such luck")
        size, pieces = await super().open_range(name, begin, end)
        return size, self._noted(pieces, begin, end)

    async def _noted(self, pieces: AsyncIterator[Buffer], begin: int, end: int) -> AsyncIterator[Buffer]:
        self.open += 1
        self.most_open = max(self.most_open, self.open)
        try:
            if self._hangs is not None and begin >= self._hangs:
                await asyncio.Event().wait()
            async for piece in pieces:
                yield piece
            self.sent.append((begin, end))
        finally:
            self.open -= 1


def transfer_of(store: ObjectStore, ranges: int = 8, stall_s: float = 60) -> Transfer:
    return Transfer(store, TransferLimits(ranges, None, stall_s), clock=SystemClock(), random=Random(1))


async def fetch(store: ObjectStore, place: Path, ranges: int = 8, stall_s: float = 60) -> str:
    return await transfer_of(store, ranges, stall_s).fetch("file", len(CONTENT), place, lambda _: None)


@pytest.mark.parametrize("ranges", [1, 3, 50])
async def test_ranges_make_the_whole_file_and_only_so_many_are_open(tmp_path: Path, ranges: int) -> None:
    seen: list[int] = []
    store = await Counting().fill()
    whole = transfer_of(store, ranges=ranges)
    assert await whole.fetch("file", len(CONTENT), tmp_path / "a/file", seen.append) == SHA256
    assert (tmp_path / "a/file").read_bytes() == CONTENT
    assert sum(seen) == len(CONTENT)
    assert len(store.sent) == 16
    assert store.most_open <= ranges


@pytest.mark.parametrize("there", [0, 1, RANGE, 500_000, len(CONTENT)])
async def test_what_is_there_is_not_fetched_again(tmp_path: Path, there: int) -> None:
    seen: list[int] = []
    store = await Counting().fill()
    (tmp_path / "file").write_bytes(CONTENT[:there])
    assert await transfer_of(store).fetch("file", len(CONTENT), tmp_path / "file", seen.append) == SHA256
    assert sum(end - begin for begin, end in store.sent) == len(CONTENT) - there
    assert (seen[0], sum(seen)) == (there, len(CONTENT))


@pytest.mark.parametrize("stop_after", range(1, 16, 3))
async def test_a_fetch_that_is_cancelled_leaves_a_beginning(tmp_path: Path, stop_after: int) -> None:
    store, place = await Counting().fill(), tmp_path / "file"
    task: asyncio.Task[str] | None = None
    arrived: list[int] = []

    def stop(count: int) -> None:
        arrived.append(count)
        if len(arrived) > stop_after and task:
            task.cancel()

    fetching = transfer_of(store, ranges=4).fetch("file", len(CONTENT), place, stop)
    task = asyncio.create_task(fetching)
    with pytest.raises(asyncio.CancelledError):
        await task
    beginning = place.read_bytes()
    assert 0 < len(beginning) < len(CONTENT)
    assert CONTENT.startswith(beginning)
    assert await fetch(again := await Counting().fill(), place) == SHA256
    assert sum(end - begin for begin, end in again.sent) == len(CONTENT) - len(beginning)


async def test_nothing_touches_the_disk_after_a_fetch_has_ended(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever removes the folder of a version that was refused must not see it come back."""
    begun, go_on, ended = threading.Event(), threading.Event(), threading.Event()
    read = transfer._read_beginning

    def slow(place: Path, size: int, digest: "hashlib._Hash", stop: threading.Event) -> int:
        begun.set()
        assert stop.wait(60), "it is told to stop"
        assert go_on.wait(60)
        count = read(place, size, digest, stop)
        ended.set()
        return count

    monkeypatch.setattr(transfer, "_read_beginning", slow)
    task = asyncio.create_task(fetch(await Counting().fill(), tmp_path / "file"))
    await wait_until(begun.is_set, description="the beginning is read")
    task.cancel()
    go_on.set()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert ended.is_set()


async def test_a_store_that_fails_is_asked_again_for_that_range_only(tmp_path: Path) -> None:
    store = await Counting(fails=(2, 3, 7)).fill()
    assert await fetch(store, tmp_path / "file", ranges=2) == SHA256
    assert sorted(store.sent) == [(at, min(at + RANGE, len(CONTENT))) for at in range(0, len(CONTENT), RANGE)]


async def test_a_store_that_sends_nothing_more_ends_the_fetch_and_what_came_stays(tmp_path: Path) -> None:
    with pytest.raises(Stalled, match=r"no byte came for 2 s"):
        await fetch(await Counting(hangs=6 * RANGE).fill(), tmp_path / "file", ranges=2, stall_s=2)
    assert (tmp_path / "file").stat().st_size == 6 * RANGE
    with pytest.raises(StoreError, match="no such luck"):
        await fetch(await Counting(fails=tuple(range(1000))).fill(), tmp_path / "file")
    assert await fetch(again := await Counting().fill(), tmp_path / "file") == SHA256
    assert len(again.sent) == 10


async def test_what_is_not_as_large_as_it_should_be_is_told(tmp_path: Path) -> None:
    for content in (CONTENT + b"x", CONTENT[:-1]):
        with pytest.raises(WrongSize, match=f"file has {len(content)} bytes"):
            await fetch(await Counting(content).fill(), tmp_path / "file")
    with pytest.raises(Missing):
        await fetch(Counting(), tmp_path / "other")


async def test_empty_files_and_files_that_are_too_long_are_written_anew(tmp_path: Path) -> None:
    empty = await Counting(b"").fill()
    assert await transfer_of(empty).fetch("file", 0, tmp_path / "empty", lambda _: None) == hashlib.sha256().hexdigest()
    (tmp_path / "long").write_bytes(CONTENT + b"x")
    assert await fetch(await Counting().fill(), tmp_path / "long") == SHA256


async def test_no_more_is_asked_for_than_the_speed_allows(tmp_path: Path) -> None:
    """At 500,000 bytes a second, a file of 1,000,000 takes two seconds, less one range."""

    class Jumping(ManualClock):
        async def sleep(self, seconds: float) -> None:
            self._now += seconds

    clock = Jumping(0.0)
    slow = Transfer(await Counting().fill(), TransferLimits(8, 500_000.0), clock=clock, random=Random(1))
    assert await slow.fetch("file", len(CONTENT), tmp_path / "file", lambda _: None) == SHA256
    assert clock.monotonic() == pytest.approx(15 * RANGE / 500_000)
