"""A registry with one small model in it."""

import json

from services.shared.manifests import MANIFEST, File, Golden, Manifest, Speculates, make
from services.shared.objectstore import ObjectStore
from services.shared.registry import Reference, Registry, object_name
from tests.support.signing import KEY
from tests.support.tensor_files import tensor_file
from tests.unit.worker.models import manifest_of, sha256

FILES = {"model.safetensors": tensor_file(b"weights"), "config.json": b'{"architectures": ["Simulated"]}'}


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


def lora_files(word: str, **config: object) -> dict[str, bytes]:
    """The files of an adapter that differs from others by its word; `config` changes its adapter_config.json."""
    plain = {"peft_type": "LORA", "r": 8, "lora_alpha": 16, "target_modules": ["q_proj"]}
    return {
        "adapter_config.json": json.dumps(plain | config).encode(),
        "adapter_model.safetensors": tensor_file(word.encode()),
    }


async def publish_adapter(
    store: ObjectStore,
    base: Manifest,
    name: str,
    files: dict[str, bytes] | None = None,
    golden: tuple[Golden, ...] = (),
) -> Manifest:
    """Puts an adapter for `base` and points `latest` at it."""
    files = files or lora_files(name)
    facts = {field: getattr(base, field) for field in ("architecture", "context_tokens", "vocab_size")}
    listed = tuple(File(name=file, size=len(data), sha256=sha256(data)) for file, data in files.items())
    manifest = make(
        model=name,
        kind="adapter",
        base=f"{base.model}@{base.version}",
        created=1,
        files=listed,
        weights_sha256=sha256(b"".join(files.values())),
        tokenizer_sha256=base.tokenizer_sha256,
        source="a test",
        golden=golden,
        **facts,
    )
    return await publish(store, files, KEY.sign(manifest), model=name)


async def publish_speculator(
    store: ObjectStore, target: Manifest, /, *, acceptance: float = 0.7, name: str = "draft", **changed: object
) -> Manifest:
    """Puts a simulated speculator for `target` and points `latest` at it; `changed` says other things of the target."""
    files = {
        "model.safetensors": tensor_file(b"drafts!"),
        "config.json": json.dumps({"architectures": ["Simulated"], "simulated": {"acceptance": acceptance}}).encode(),
    }
    facts = {
        "target": f"{target.model}@{target.version}",
        "vocab_size": target.vocab_size,
        "tokenizer_sha256": target.tokenizer_sha256,
        "method": "draft_model",
        "tokens": 3,
    }
    plain = manifest_of(files, name).model_dump(exclude={"version", "signature", "signer"})
    manifest = make(**plain | {"kind": "speculator", "speculates": Speculates.model_validate(facts | changed)})
    return await publish(store, files, KEY.sign(manifest), model=name)
