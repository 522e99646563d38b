from collections.abc import AsyncIterator

import pytest
from obstore.store import MemoryStore

from services.shared.manifests import MANIFEST, Manifest, WrongManifest
from services.shared.objectstore import Conflict, ObjectStore
from services.shared.registry import Reference, Registry, UnknownVersion, object_name
from tests.unit.shared.test_manifests import manifest


@pytest.fixture
def store() -> ObjectStore:
    return ObjectStore(MemoryStore())


async def put(store: ObjectStore, made: Manifest) -> None:
    await store.put_new(object_name(made.model, made.version, MANIFEST), made.to_json())


@pytest.mark.parametrize("text", ["", "Tiny", "a/b", "../x", "a@", "a@b@c", "-a", "a" * 64, "a@" + "b" * 65, "a\n"])
def test_what_is_no_reference(text: str) -> None:
    with pytest.raises(ValueError, match="not a model reference"):
        Reference.parse(text)


def test_references() -> None:
    assert Reference.parse("tiny") == Reference("tiny", "latest")
    assert str(Reference.parse("tiny@canary")) == "tiny@canary"
    assert Reference.parse("tiny@" + "0a" * 32).is_version


async def test_versions_and_aliases_resolve(store: ObjectStore) -> None:
    first, second, registry = manifest(), manifest(vocab_size=17), Registry(store)
    await put(store, first)
    await put(store, second)
    await registry.move_alias(Reference("tiny"), first.version)
    assert await registry.resolve(Reference("tiny")) == first
    await registry.move_alias(Reference("tiny"), second.version)
    assert await registry.resolve(Reference("tiny")) == second
    assert await registry.resolve(Reference("tiny", first.version)) == first
    assert {made.version async for made in registry.versions()} == {first.version, second.version}
    assert await registry.aliases() == {Reference("tiny"): second.version}


async def test_an_alias_remembers_where_it_pointed_before(store: ObjectStore) -> None:
    registry, latest = Registry(store), Reference("tiny")
    await registry.move_alias(latest, "a" * 64)
    assert await registry.previous(latest) is None
    await registry.move_alias(latest, "b" * 64)
    await registry.move_alias(latest, "b" * 64)
    assert await registry.previous(latest) == "a" * 64
    await registry.move_alias(latest, "a" * 64)
    assert await registry.previous(latest) == "b" * 64


async def test_an_alias_written_before_it_remembered_anything_can_be_moved(store: ObjectStore) -> None:
    await store.put_new("tiny/aliases/latest.json", b'{"version": "%s"}' % (b"a" * 64))
    assert await Registry(store).previous(Reference("tiny")) is None
    await Registry(store).move_alias(Reference("tiny"), "b" * 64)
    assert await Registry(store).previous(Reference("tiny")) == "a" * 64


async def test_people_may_name_a_version_by_its_beginning_or_an_alias(store: ObjectStore) -> None:
    first, second, registry = manifest(), manifest(vocab_size=17), Registry(store)
    await put(store, first)
    await put(store, second)
    await registry.move_alias(Reference("tiny"), first.version)
    for word in (first.version, first.version[:12], "latest"):
        assert await registry.find("tiny", word) == first
    for word in (first.version[:3], "0" * 12, "canary", "no/such", ""):
        with pytest.raises(UnknownVersion):
            await registry.find("tiny", word)


async def test_a_beginning_that_several_versions_share_is_no_name(store: ObjectStore) -> None:
    for ending in ("0", "1"):
        await store.put_new(object_name("tiny", "abcd" * 15 + "000" + ending, MANIFEST), b"{}")
    with pytest.raises(UnknownVersion, match="2 versions begin like this"):
        await Registry(store).find("tiny", "abcdabcd")


async def test_unknown_names_say_so(store: ObjectStore) -> None:
    registry = Registry(store)
    for which in ("latest", "f" * 64):
        with pytest.raises(UnknownVersion, match="tiny"):
            await registry.resolve(Reference("tiny", which))


async def test_files_without_a_manifest_are_no_version(store: ObjectStore) -> None:
    await store.put_new(object_name("tiny", "f" * 64, "model.safetensors"), b"half")
    assert [made async for made in Registry(store).versions()] == []


async def test_a_manifest_at_the_wrong_place_is_refused(store: ObjectStore) -> None:
    await store.put_new(object_name("tiny", "f" * 64, MANIFEST), manifest().to_json())
    with pytest.raises(WrongManifest, match=r"the manifest of .* is wrong"):
        await Registry(store).resolve(Reference("tiny", "f" * 64))


async def test_a_signed_manifest_under_another_models_name_is_refused(store: ObjectStore) -> None:
    """Otherwise a person who can write to the bucket could make one trusted model appear as another."""
    made = manifest()
    await store.put_new(object_name("victim", made.version, MANIFEST), made.to_json())
    with pytest.raises(WrongManifest, match="victim"):
        await Registry(store).resolve(Reference("victim", made.version))


@pytest.mark.parametrize(
    "document", [b"", b"[]", b"{}", b'{"version": "../../x"}', b'{"version": 1}', b'{"version": null}']
)
async def test_an_alias_that_is_none_says_so(store: ObjectStore, document: bytes) -> None:
    await store.put_new("tiny/aliases/latest.json", document)
    registry, latest = Registry(store), Reference("tiny")
    for call in (registry.resolve(latest), registry.previous(latest), registry.move_alias(latest, "a" * 64)):
        with pytest.raises(WrongManifest, match="alias tiny@latest"):
            await call


class Vanishing(ObjectStore):
    """Lists an object that is removed before it is read."""

    async def list(self, prefix: str) -> AsyncIterator[str]:
        yield object_name("gone", "a" * 64, MANIFEST)
        async for name in super().list(prefix):
            yield name


async def test_what_is_no_version_or_no_longer_there_does_not_spoil_a_listing() -> None:
    store = Vanishing(MemoryStore())
    made = manifest()
    await put(store, made)
    await store.put_new("Some/folder/manifest.json", b"")
    assert [found async for found in Registry(store).versions()] == [made]


async def test_an_alias_that_moved_meanwhile_is_a_conflict(store: ObjectStore) -> None:
    await Registry(store).move_alias(Reference("tiny"), "a" * 64)
    _, etag = await store.get("tiny/aliases/latest.json")
    await Registry(store).move_alias(Reference("tiny"), "b" * 64)
    with pytest.raises(Conflict):
        await store.put_if("tiny/aliases/latest.json", b"{}", etag)
