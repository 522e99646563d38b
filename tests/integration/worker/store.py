"""A registry with one small model in it."""

from services.shared.manifests import MANIFEST, Manifest
from services.shared.objectstore import ObjectStore
from services.shared.registry import Reference, Registry, object_name
from tests.unit.worker.models import manifest_of

FILES = {"model.safetensors": b"weights", "config.json": b'{"architectures": ["Simulated"]}'}


async def publish(
    store: ObjectStore, files: dict[str, bytes] = FILES, manifest: Manifest | None = None, model: str = "tide"
) -> Manifest:
    """Puts the files and their manifest (or another one, to lie) and points `latest` at it."""
    manifest = manifest or manifest_of(files, model)
    for name, content in files.items():
        await store.put_new(object_name(model, manifest.version, name), content)
    await store.put_new(object_name(model, manifest.version, MANIFEST), manifest.to_json())
    await Registry(store).move_alias(Reference(model), manifest.version)
    return manifest
