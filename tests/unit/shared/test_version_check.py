"""Every kind of fault of a published version is found and named."""

from pathlib import Path

import pytest
from obstore.store import MemoryStore

from services.shared.manifests import Manifest
from services.shared.objectstore import ObjectStore
from services.shared.registry import object_name
from services.shared.version_check import faults
from tests.support.signing import KEY, STRANGER, TRUSTED
from trainer.checkpoint import read
from trainer.publish import Provenance, describe, publish
from trainer.sources.simulated import SimulatedModel


@pytest.fixture
def store() -> ObjectStore:
    return ObjectStore(MemoryStore())


@pytest.fixture
async def published(store: ObjectStore, tmp_path: Path) -> Manifest:
    checkpoint = read(SimulatedModel().prepare(tmp_path))
    made = KEY.sign(describe(checkpoint, model="tiny", provenance=Provenance("a test"), created=1))
    return (await publish(store, checkpoint, made, lambda _: None)).manifest


def place(manifest: Manifest, name: str) -> str:
    return object_name(manifest.model, manifest.version, name)


async def test_every_byte_of_a_whole_version_is_read(store: ObjectStore, published: Manifest) -> None:
    moved: list[int] = []
    assert await faults(store, published, TRUSTED, moved.append) == []
    assert sum(moved) == sum(file.size for file in published.files)


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (b"", "config.json has 0 bytes, the manifest says"),
        (None, "config.json is missing"),
        ("flipped", "config.json is not what was signed: its SHA-256 is"),
    ],
)
async def test_a_damaged_file_is_named(
    store: ObjectStore, published: Manifest, content: bytes | str | None, told: str
) -> None:
    name = place(published, "config.json")
    whole, etag = await store.get(name)
    if content is None:
        await store.delete(name)
    else:
        await store.put_if(name, whole[:-1] + b" " if isinstance(content, str) else content, etag)
    (fault,) = await faults(store, published, TRUSTED, lambda _: None)
    assert fault.startswith(told)


async def test_a_strangers_signature_and_a_pickle_are_named_together(store: ObjectStore, published: Manifest) -> None:
    pickle = published.files[0].model_copy(update={"name": "weights.pkl"})
    made = STRANGER.sign(published.model_copy(update={"files": (*published.files, pickle)}))
    signed, unsafe, missing = await faults(store, made, TRUSTED, lambda _: None)
    assert "is not among the trusted keys" in signed
    assert "weights.pkl does not have a safe format" in unsafe
    assert missing == "weights.pkl is missing"
