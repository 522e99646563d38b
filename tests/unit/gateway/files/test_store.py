"""Files on an object store in memory, with a clock that the test moves."""

import asyncio
from collections.abc import Sequence
from pathlib import Path
from random import Random

import pytest
from obstore.store import MemoryStore

from services.gateway.files import expiry
from services.gateway.files.expiry import ExpirySweep
from services.gateway.files.file import File, Purpose, check_lifetime
from services.gateway.files.store import FileStore
from services.shared.errors import NotFound
from services.shared.objectstore import ObjectStore
from tests.support.clock import ManualClock
from tests.support.wait import wait_until

HOUR = 3600


class World:
    def __init__(self, folder: Path) -> None:
        self.objects, self.clock = ObjectStore(MemoryStore()), ManualClock()
        self.files = FileStore(self.objects, self.clock, Random(1).getrandbits)
        self.content = folder / "content"
        self.content.write_bytes(b"x")

    async def save(self, purpose: Purpose = "batch", lifetime_s: int | None = None) -> File:
        """Each file is a second younger than the one before."""
        await self.clock.advance(1)
        return await self.files.save("t", "f", purpose, self.content, 1, lifetime_s=lifetime_s)

    async def page(
        self, *, after: str | None = None, limit: int = 2, newest_first: bool = True, purpose: str | None = None
    ) -> tuple[Sequence[str], bool]:
        files, more = await self.files.list(
            "t", after=after, limit=limit, newest_first=newest_first, purpose=purpose
        )  # fmt: skip
        return [file.id for file in files], more

    async def names(self) -> list[str]:
        return [name async for name in self.objects.list("_gateway/")]


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path)


async def test_pages_are_made_of_what_the_filter_leaves(world: World) -> None:
    kept = [(await world.save("user_data" if n % 20 == 0 else "batch")).id for n in range(61)][::20]
    assert await world.page(purpose="user_data") == ([kept[3], kept[2]], True)
    assert await world.page(purpose="user_data", after=kept[2]) == ([kept[1], kept[0]], False)
    assert await world.page(purpose="user_data", newest_first=False, limit=3) == (kept[:3], True)
    assert await world.page(purpose="user_data", newest_first=False, after=kept[2]) == ([kept[3]], False)
    assert await world.page(purpose="vision") == ([], False)


async def test_an_unknown_cursor_is_refused(world: World) -> None:
    file = await world.save()
    assert await world.page(after="") == ([file.id], False)
    for unknown in ("file-1", "x" * 1000, file.id[:-1] + "_"):
        with pytest.raises(NotFound) as refused:
            await world.page(after=unknown)
        assert refused.value.param == "after"
        assert len(refused.value.message) < 200


async def test_an_expired_file_is_gone(world: World) -> None:
    expiring, lasting = await world.save(lifetime_s=HOUR), await world.save()
    assert expiring.document()["expires_at"] == expiring.created + HOUR
    assert lasting.document()["expires_at"] is None
    await world.clock.advance(HOUR - 2)
    assert await world.files.get("t", expiring.id) == expiring
    await world.clock.advance(1)
    with pytest.raises(NotFound):
        await world.files.get("t", expiring.id)
    with pytest.raises(NotFound):
        await world.files.content("t", expiring.id)
    with pytest.raises(NotFound):
        await world.files.delete("t", expiring.id)
    assert await world.page(limit=1) == ([lasting.id], False)


async def test_the_sweep_deletes_what_has_expired_and_nothing_else(world: World) -> None:
    first, second, lasting = (
        await world.save(lifetime_s=HOUR),
        await world.save(lifetime_s=2 * HOUR),
        await world.save(),
    )
    assert await world.files.delete_expired() == 0
    await world.clock.advance(HOUR)
    assert await world.files.delete_expired() == 1
    left = await world.names()
    assert not [name for name in left if first.id in name]
    assert len([name for name in left if second.id in name]) == 3
    await world.clock.advance(HOUR)
    sweeping = asyncio.create_task(ExpirySweep(world.files, world.clock).run())
    await wait_until(lambda: _gone(world, second), description="the second file is deleted")
    later = await world.save(lifetime_s=HOUR)
    await world.clock.advance(HOUR)

    async def swept_later() -> bool:
        await world.clock.advance(expiry.SWEEP_S)
        return await _gone(world, later)

    await wait_until(swept_later, description="the sweep goes on")
    sweeping.cancel()
    assert await world.page() == ([lasting.id], False)
    assert len(await world.names()) == 2


async def test_a_deleted_file_leaves_nothing_behind(world: World) -> None:
    file = await world.save(lifetime_s=HOUR)
    await world.files.delete("t", file.id)
    assert await world.names() == []


def test_lifetimes_have_openais_bounds() -> None:
    assert [check_lifetime(seconds) for seconds in (3600, 2_592_000)] == [3600, 2_592_000]
    for wrong in (0, 3599, 2_592_001):
        with pytest.raises(ValueError, match="between 3600"):
            check_lifetime(wrong)


async def _gone(world: World, file: File) -> bool:
    return not [name for name in await world.names() if file.id in name]
