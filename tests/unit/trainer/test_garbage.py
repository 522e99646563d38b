"""What goes is what nobody needs; what is needed, young or being written stays, whole."""

from collections.abc import Collection

import pytest
from obstore.store import MemoryStore

from services.shared.manifests import MANIFEST, Manifest
from services.shared.objectstore import ObjectStore
from services.shared.registry import Reference, Registry, object_name
from tests.unit.shared.test_manifests import manifest
from trainer.garbage import DAY_S, Folder, Garbage, Retention

WEIGHTS = "model.safetensors"
MONTH = 31 * DAY_S


@pytest.fixture
def store() -> ObjectStore:
    return ObjectStore(MemoryStore())


async def put(store: ObjectStore, made: Manifest) -> Manifest:
    await store.put_new(object_name(made.model, made.version, WEIGHTS), b"weights")
    await store.put_new(object_name(made.model, made.version, MANIFEST), made.to_json())
    return made


async def written(store: ObjectStore) -> float:
    return max([entry.written async for entry in store.entries("")])


async def garbage(store: ObjectStore, *, later: float = MONTH, in_use: Collection[str] = (), last: int = 0) -> Garbage:
    """As it would be `later` seconds after the last write."""
    return Garbage(store, in_use, Retention(days=30, last=last, now=await written(store) + later))


async def removed(made: Garbage) -> list[str]:
    found = await made.find()
    assert all([await made.remove(folder) for folder in found])
    return [folder.version for folder in found]


async def left(store: ObjectStore) -> list[Manifest]:
    return [made async for made in Registry(store).versions()]


async def test_a_version_goes_whole_when_nothing_needs_it(store: ObjectStore) -> None:
    made = await put(store, manifest())
    assert await removed(await garbage(store, later=29 * DAY_S)) == []
    assert await removed(await garbage(store)) == [made.version]
    assert [name async for name in store.list("")] == []


async def test_what_aliases_and_workers_need_stays(store: ObjectStore) -> None:
    names = ("before", "latest", "served", "unneeded")
    made = {name: await put(store, manifest(source=name)) for name in names}
    for name in ("before", "latest"):
        await Registry(store).move_alias(Reference("tiny"), made[name].version)
    assert await removed(await garbage(store, in_use={made["served"].version})) == [made["unneeded"].version]
    assert {found.source for found in await left(store)} == {"before", "latest", "served"}


async def test_the_base_of_an_adapter_stays_as_long_as_the_adapter(store: ObjectStore) -> None:
    base = await put(store, manifest())
    adapter = await put(store, manifest(model="tiny-adapter", kind="adapter", base=f"tiny@{base.version}"))
    await Registry(store).move_alias(Reference("tiny-adapter"), adapter.version)
    assert await removed(await garbage(store)) == []
    assert set(await removed(await garbage(await unaliased(base, adapter)))) == {base.version, adapter.version}


async def test_the_last_versions_of_each_model_stay_however_old_they_are(store: ObjectStore) -> None:
    order = [await put(store, manifest(source=str(number))) for number in range(4)]
    other = await put(store, manifest(model="other"))
    await store.put_new(object_name("tiny", "f" * 64, WEIGHTS), b"half")
    times = {made.version: float(number) for number, made in enumerate([*order, other])}
    folders = [
        Folder(made.model, made.version, (object_name(made.model, made.version, MANIFEST),), 1, times[made.version])
        for made in (*order, other)
    ]
    unfinished = Folder("tiny", "f" * 64, (object_name("tiny", "f" * 64, WEIGHTS),), 1, 9.0)
    kept = Retention(days=0, last=2, now=1e9).of([*folders, unfinished])
    assert kept == {order[2].version, order[3].version, other.version}
    assert len(await removed(await garbage(store, last=2))) == 3, "two versions, and the upload that never ended"
    assert len(await left(store)) == 3


async def unaliased(*made: Manifest) -> ObjectStore:
    store = ObjectStore(MemoryStore())
    for each in made:
        await put(store, each)
    return store


async def test_a_publish_that_never_ended_goes_after_a_day_and_not_while_it_may_still_run(store: ObjectStore) -> None:
    await store.put_new(object_name("tiny", "f" * 64, WEIGHTS), b"half")
    assert await removed(await garbage(store, later=DAY_S - 1)) == []
    assert await removed(await garbage(store, later=DAY_S + 1)) == ["f" * 64]
    assert [name async for name in store.list("")] == []


async def test_what_is_wanted_again_since_it_was_found_stays(store: ObjectStore) -> None:
    pointed, rewritten = await put(store, manifest()), await put(store, manifest(source="again"))
    half = object_name("tiny", "f" * 64, WEIGHTS)
    await store.put_new(half, b"half")
    made = await garbage(store)
    found = await made.find()
    assert len(found) == 3
    await Registry(store).move_alias(Reference("tiny"), pointed.version)
    content, etag = await store.get(object_name("tiny", rewritten.version, MANIFEST))
    await store.put_if(object_name("tiny", rewritten.version, MANIFEST), content, etag)
    await store.put_new(object_name("tiny", "f" * 64, "config.json"), b"{}")
    assert [await made.remove(folder) for folder in found] == [False] * 3
    assert await left(store) == sorted([pointed, rewritten], key=lambda made: made.version)


class Stopped(Exception):
    pass


class StopsAfterOne(ObjectStore):
    deleted = 0

    async def delete(self, name: str) -> None:
        if self.deleted == 1:
            raise Stopped
        self.deleted += 1
        await super().delete(name)


async def test_a_removal_that_is_stopped_leaves_no_version_and_is_ended_later() -> None:
    memory = MemoryStore()
    store = StopsAfterOne(memory)
    made = await put(store, manifest())
    with pytest.raises(Stopped):
        await removed(await garbage(store))
    assert await left(store) == []
    assert await removed(await garbage(ObjectStore(memory))) == [made.version]


async def test_aliases_and_strangers_in_the_bucket_are_not_touched(store: ObjectStore) -> None:
    await store.put_new("tiny/notes/README.md", b"")
    await store.put_new("README.md", b"")
    await Registry(store).move_alias(Reference("tiny"), "a" * 64)
    assert await (await garbage(store, later=1000 * DAY_S)).find() == []
