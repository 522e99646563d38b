import asyncio
from pathlib import Path

import pytest
from obstore.store import MemoryStore

from services.shared.bucket_copy import OBJECTS, BucketCopies, CopyError
from services.shared.objectstore import Missing, ObjectStore

WEIGHTS = b"w" * 3_000_000
CONTENT = {
    "tide/aliases/latest.json": b'{"version": "1"}',
    "tide/1/manifest.json": b"manifest",
    "tide/1/model.safetensors": WEIGHTS,
    "tide/1/copy.safetensors": WEIGHTS,
    "_gateway/open-batches/tenant/batch": b"",
}


@pytest.fixture
def store() -> ObjectStore:
    return ObjectStore(MemoryStore())


@pytest.fixture
def copies(tmp_path: Path) -> BucketCopies:
    return BucketCopies(tmp_path / "copies")


async def fill(store: ObjectStore, content: dict[str, bytes]) -> None:
    for name, data in content.items():
        await store.put_new(name, data)


async def read(store: ObjectStore) -> dict[str, bytes]:
    return {name: (await store.get(name))[0] for name in [name async for name in store.list("")]}


async def test_a_copy_brings_everything_back(store: ObjectStore, copies: BucketCopies, tmp_path: Path) -> None:
    await fill(store, CONTENT)
    index = await copies.save(store, "monday", lambda _: None)
    assert index.size == sum(len(data) for data in CONTENT.values())
    empty = ObjectStore(MemoryStore())
    written: list[int] = []
    assert await copies.restore(empty, "monday", written.append) == index
    assert await read(empty) == CONTENT
    assert sum(written) == index.size
    # Equal contents are kept once.
    assert len(list((tmp_path / "copies" / OBJECTS).iterdir())) == len(CONTENT) - 1


async def test_the_next_copy_fetches_what_is_new(store: ObjectStore, copies: BucketCopies) -> None:
    await fill(store, CONTENT)
    await copies.save(store, "monday", lambda _: None)
    await store.delete("tide/aliases/latest.json")
    await fill(store, {"tide/aliases/latest.json": b'{"version": "2"}', "tide/2/model.safetensors": b"new"})
    fetched: list[int] = []
    await copies.save(store, "tuesday", fetched.append)
    documents = sum(len(data) for name, data in CONTENT.items() if name.endswith(".json"))
    assert sum(fetched) == documents + len(b"new")
    for name, version in (("monday", b"1"), ("tuesday", b"2")):
        restored = ObjectStore(MemoryStore())
        await copies.restore(restored, name, lambda _: None)
        assert version in (await restored.get("tide/aliases/latest.json"))[0]


async def test_what_a_document_of_the_copy_names_is_in_the_copy(copies: BucketCopies) -> None:
    class Published(ObjectStore):
        """A version is published after the first listing, and its alias moves before it is read."""

        async def download(self, name: str, file: Path, progress: object) -> str:
            if name.endswith("latest.json") and "tide/2/manifest.json" not in await read(self):
                await fill(self, {"tide/2/model.safetensors": b"new", "tide/2/manifest.json": b"manifest 2"})
                await self.put_if(name, b'{"version": "2"}', (await self.get(name))[1])
            return await super().download(name, file, lambda _: None)

    store = Published(MemoryStore())
    await fill(store, CONTENT)
    index = await copies.save(store, "now", lambda _: None)
    restored = ObjectStore(MemoryStore())
    await copies.restore(restored, "now", lambda _: None)
    assert await read(restored) == await read(store)
    assert {"tide/2/model.safetensors", "tide/2/manifest.json"} <= set(index.objects)


async def test_documents_come_last_and_aliases_after_them(store: ObjectStore, copies: BucketCopies) -> None:
    await fill(store, CONTENT)
    await copies.save(store, "now", lambda _: None)
    order: list[str] = []

    class Watched(ObjectStore):
        async def write(self, name: str, chunks: object, size: int) -> None:
            order.append(name)

    await copies.restore(Watched(MemoryStore()), "now", lambda _: None)
    assert order[-2:] == ["tide/1/manifest.json", "tide/aliases/latest.json"]


async def test_a_damaged_content_is_not_restored(store: ObjectStore, copies: BucketCopies, tmp_path: Path) -> None:
    await fill(store, CONTENT)
    index = await copies.save(store, "now", lambda _: None)
    damaged = tmp_path / "copies" / OBJECTS / index.objects["tide/1/model.safetensors"].sha256
    damaged.write_bytes(WEIGHTS[:-1] + b"x")
    empty = ObjectStore(MemoryStore())
    with pytest.raises(CopyError, match=r"safetensors: its content is not what was saved"):
        await copies.restore(empty, "now", lambda _: None)
    with pytest.raises(Missing):
        await empty.get("tide/aliases/latest.json")
    damaged.write_bytes(b"short")
    with pytest.raises(CopyError, match="not whole"):
        copies.check("now")


async def test_what_goes_while_it_is_copied_is_left_out(copies: BucketCopies) -> None:
    class Expiring(ObjectStore):
        async def download(self, name: str, file: Path, progress: object) -> str:
            await self.delete("tide/1/copy.safetensors")
            return await super().download(name, file, lambda _: None)

    store = Expiring(MemoryStore())
    await fill(store, CONTENT)
    index = await copies.save(store, "now", lambda _: None)
    assert set(index.objects) == set(CONTENT) - {"tide/1/copy.safetensors"}


async def test_sweeping_removes_what_no_copy_needs(store: ObjectStore, copies: BucketCopies, tmp_path: Path) -> None:
    await fill(store, CONTENT)
    await copies.save(store, "old", lambda _: None)
    await store.delete("tide/1/model.safetensors")
    await store.delete("tide/1/copy.safetensors")
    await copies.save(store, "new", lambda _: None)
    assert copies.sweep() == 0
    index = tmp_path / "copies/old/bucket.json"
    index.unlink()
    assert copies.sweep() == len(WEIGHTS)
    copies.check("new")
    index.write_text("{")
    with pytest.raises(CopyError, match="does not parse"):
        copies.sweep()


@pytest.mark.parametrize("name", ["../up", "a/b", "", "objects", "-x"])
async def test_names_of_copies_are_plain(store: ObjectStore, copies: BucketCopies, name: str) -> None:
    with pytest.raises(CopyError, match="cannot be the name"):
        await copies.save(store, name, lambda _: None)


async def test_no_copy_is_overwritten_or_made_up(store: ObjectStore, copies: BucketCopies) -> None:
    await copies.save(store, "now", lambda _: None)
    with pytest.raises(CopyError, match="there already"):
        await copies.save(store, "now", lambda _: None)
    with pytest.raises(CopyError, match="No such file"):
        await asyncio.to_thread(copies.index, "never")
