"""One contract for every object store that we run on."""

import time
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from obstore.store import MemoryStore

from services.shared.objectstore import CHUNK_BYTES, Conflict, Missing, ObjectStore, StoreError, connect
from tests.support.s3 import running_s3


@pytest.fixture(params=["memory", "seaweedfs"])
async def store(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[ObjectStore]:
    if request.param == "memory":
        yield ObjectStore(MemoryStore())
        return
    async with running_s3(tmp_path) as settings:
        yield connect(settings)


async def test_the_contract(store: ObjectStore, tmp_path: Path) -> None:
    await create_is_exclusive(store)
    await replace_wants_the_etag(store)
    await missing_is_told(store, tmp_path)
    await large_files_survive(store, tmp_path)
    assert {name async for name in store.list("large/")} == {"large/file"}
    await what_is_deleted_is_gone(store)


async def create_is_exclusive(store: ObjectStore) -> None:
    await store.put_new("a/b", b"first")
    with pytest.raises(Conflict):
        await store.put_new("a/b", b"second")
    assert (await store.get("a/b"))[0] == b"first"


async def replace_wants_the_etag(store: ObjectStore) -> None:
    _, old = await store.get("a/b")
    await store.put_if("a/b", b"second", old)
    with pytest.raises(Conflict):
        await store.put_if("a/b", b"third", old)
    content, new = await store.get("a/b")
    assert content == b"second"
    assert new != old


async def missing_is_told(store: ObjectStore, folder: Path) -> None:
    with pytest.raises(Missing):
        await store.get("a/none")
    with pytest.raises(Missing):
        await store.download("a/none", folder / "none", lambda _: None)
    assert [name async for name in store.list("none/")] == []


async def large_files_survive(store: ObjectStore, folder: Path) -> None:
    """More than one part of a multipart upload."""
    source, copy = folder / "source", folder / "copy"
    source.write_bytes(bytes(range(256)) * (5 * CHUNK_BYTES // 256) + b"end")
    up: list[int] = []
    down: list[int] = []
    await store.upload("large/file", source, up.append)
    await store.download("large/file", copy, down.append)
    assert copy.read_bytes() == source.read_bytes()
    assert sum(up) == sum(down) == source.stat().st_size
    await ranges_are_parts(store, source.read_bytes())


async def ranges_are_parts(store: ObjectStore, whole: bytes) -> None:
    for begin, end in ((0, 1), (1, len(whole)), (3_000_000, 9_000_001), (len(whole) - 1, len(whole))):
        size, pieces = await store.open_range("large/file", begin, end)
        assert size == len(whole)
        assert b"".join([bytes(piece) async for piece in pieces]) == whole[begin:end]
    with pytest.raises(Missing):
        await store.open_range("large/none", 0, 1)


async def what_is_deleted_is_gone(store: ObjectStore) -> None:
    """And comes back by no conditional write."""
    _, etag = await store.get("a/b")
    (entry,) = [entry async for entry in store.entries("a/")]
    assert (entry.name, entry.size) == ("a/b", len(b"second"))
    assert abs(entry.written - time.time()) < 60
    await store.delete("a/b")
    await store.delete("a/b")
    with pytest.raises((Conflict, Missing)):
        await store.put_if("a/b", b"third", etag)
    assert [name async for name in store.list("a/")] == []


async def test_wrong_keys_and_a_store_that_is_away_are_told_in_one_line(tmp_path: Path) -> None:
    async with running_s3(tmp_path) as settings:
        stranger = connect(settings.model_copy(update={"s3_secret_key": "wrong" * 8}))
        with pytest.raises(StoreError) as refused:
            await stranger.get("a/b")
    with pytest.raises(StoreError) as away:
        await connect(settings).get("a/b")
    for error in (refused.value, away.value):
        assert not isinstance(error, Missing)
        assert "\n" not in str(error)
        assert settings.s3_secret_key not in str(error)
