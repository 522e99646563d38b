"""Whatever stops a publish, and whoever publishes at the same time: a version is whole, or it is not there."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from random import Random

import pytest
from obstore.store import MemoryStore

from services.shared.objectstore import Entry, ObjectStore
from services.shared.registry import CANDIDATE, Reference, Registry
from tests.support.publishing import checkpoint_of, described, published, seen

RACES = 20


class Killed(BaseException):
    """Nothing in the publisher catches it, as nothing catches SIGKILL."""


class StoppedAt(ObjectStore):
    """Ends the publisher at one point of its way: before or after a call, or between two chunks of a file."""

    def __init__(self, store: MemoryStore, stop_at: int) -> None:
        super().__init__(store)
        self._left = stop_at

    def _point(self) -> None:
        if not self._left:
            raise Killed
        self._left -= 1

    @property
    def was_reached(self) -> bool:
        return not self._left

    async def get(self, name: str) -> tuple[bytes, str]:
        self._point()
        return await super().get(name)

    async def put_new(self, name: str, content: bytes) -> None:
        self._point()
        await super().put_new(name, content)
        self._point()

    async def put_if(self, name: str, content: bytes, etag: str) -> None:
        self._point()
        await super().put_if(name, content, etag)
        self._point()

    async def write(self, name: str, chunks: AsyncIterator[bytes], size: int) -> None:
        self._point()
        # A process that is killed between two parts of an upload leaves no object: it is complete when all are named.
        content = [chunk async for chunk in chunks]
        for _ in content:
            self._point()
        await super().write(name, _each(content), size)
        self._point()

    async def entries(self, prefix: str) -> AsyncIterator[Entry]:
        async for entry in super().entries(prefix):
            self._point()
            yield entry


async def _each(chunks: list[bytes]) -> AsyncIterator[bytes]:
    for chunk in chunks:
        yield chunk


async def test_a_publish_that_is_stopped_at_any_point_leaves_a_whole_version_or_none(tmp_path: Path) -> None:
    old, new = checkpoint_of(tmp_path, 1), checkpoint_of(tmp_path, 2)
    versions = {described(old).version, described(new).version}
    points = 0
    while True:
        memory = MemoryStore()
        await published(ObjectStore(memory), old, Random(1))
        try:
            await published(StoppedAt(memory, points), new, Random(1))
            break
        except (Killed, BaseExceptionGroup):
            points += 1
        assert described(old).version in await seen(ObjectStore(memory))
        await published(ObjectStore(memory), new, Random(1))
        assert await seen(ObjectStore(memory)) == versions
        assert await Registry(ObjectStore(memory)).alias(Reference("tiny", CANDIDATE)) == described(new).version
        assert await Registry(ObjectStore(memory)).alias(Reference("tiny")) == described(old).version
    assert points >= 15


class Slow(ObjectStore):
    """Lets others go first at random."""

    def __init__(self, store: MemoryStore, random: Random) -> None:
        super().__init__(store)
        self._random = random

    async def _wait(self) -> None:
        for _ in range(self._random.randrange(4)):
            await asyncio.sleep(0)

    async def get(self, name: str) -> tuple[bytes, str]:
        await self._wait()
        return await super().get(name)

    async def put_new(self, name: str, content: bytes) -> None:
        await self._wait()
        await super().put_new(name, content)

    async def put_if(self, name: str, content: bytes, etag: str) -> None:
        await self._wait()
        await super().put_if(name, content, etag)

    async def write(self, name: str, chunks: AsyncIterator[bytes], size: int) -> None:
        await self._wait()
        await super().write(name, chunks, size)


@pytest.mark.parametrize("same", [True, False], ids=["the same content", "different content"])
async def test_of_two_publishers_one_wins_and_nobody_ever_sees_a_part(tmp_path: Path, same: bool) -> None:
    random = Random(7)
    made = [checkpoint_of(tmp_path, 1)] * 2 if same else [checkpoint_of(tmp_path, seed) for seed in (1, 2)]
    for _ in range(RACES):
        memory, done = MemoryStore(), asyncio.Event()

        async def watch(memory: MemoryStore = memory, done: asyncio.Event = done) -> None:
            while not done.is_set():
                await seen(ObjectStore(memory))

        watching = asyncio.create_task(watch())
        racing = (published(Slow(memory, random), checkpoint, random) for checkpoint in made)
        new = await asyncio.gather(*racing)
        done.set()
        await watching
        versions = await seen(ObjectStore(memory))
        assert versions == {described(checkpoint).version for checkpoint in made}
        assert sum(new) == len(versions)
        assert await Registry(ObjectStore(memory)).alias(Reference("tiny")) in versions
