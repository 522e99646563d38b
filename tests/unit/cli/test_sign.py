"""After the key that signs was replaced: versions get the new signature, and nothing else of them changes."""

import pytest
from obstore.store import MemoryStore

from services.cli.commands.sign import sign_all
from services.shared.manifests import MANIFEST, Manifest
from services.shared.objectstore import ObjectStore
from services.shared.registry import Reference, Registry, object_name
from services.shared.signing import SigningKey, TrustedKeys, Untrusted
from tests.support.signing import KEY, STRANGER
from tests.unit.worker.models import manifest_of

NEW = SigningKey.generate()
BOTH = TrustedKeys([KEY.public, NEW.public])


async def put(store: ObjectStore, manifest: Manifest) -> Manifest:
    await store.put_new(object_name(manifest.model, manifest.version, MANIFEST), manifest.to_json())
    return manifest


@pytest.fixture
async def store() -> ObjectStore:
    return ObjectStore(MemoryStore())


async def test_versions_of_the_old_key_get_the_new_signature_and_strangers_are_named(store: ObjectStore) -> None:
    old = [await put(store, manifest_of({"a": model.encode()}, model)) for model in ("tide", "shore")]
    strange = await put(store, STRANGER.sign(manifest_of({"a": b"strange"})))
    await put(store, NEW.sign(manifest_of({"a": b"new"})))
    assert (await sign_all(store, NEW, BOTH, "shore", dry_run=True))[0] == [old[1]]
    signed, refused = await sign_all(store, NEW, BOTH, None, dry_run=False)
    assert sorted(made.model for made in signed) == ["shore", "tide"]
    assert len(refused) == 1
    assert strange.version in refused[0]
    for made in old:
        now = await Registry(store).resolve(Reference(made.model, made.version))
        assert now == NEW.sign(made)
        TrustedKeys([NEW.public]).check(now)
        with pytest.raises(Untrusted):
            TrustedKeys([NEW.public]).check(made)
    assert await Registry(store).resolve(Reference("tide", strange.version)) == strange
    assert (await sign_all(store, NEW, BOTH, None, dry_run=False))[0] == []


async def test_a_version_that_somebody_else_replaces_meanwhile_is_left_alone(store: ObjectStore) -> None:
    made = await put(store, manifest_of({"a": b"a"}))
    assert not await Registry(store).sign_again(made.model_copy(update={"created": 2}), NEW.sign(made))
    assert await Registry(store).resolve(Reference("tide", made.version)) == made
    await store.delete(object_name("tide", made.version, MANIFEST))
    assert not await Registry(store).sign_again(made, NEW.sign(made))
