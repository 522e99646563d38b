"""Publishing a checkpoint: files first, the manifest last, then the alias.

Until the manifest is there the version does not exist, so whatever stops a publish half-way leaves nothing to see.
"""

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from random import Random

from services.shared.backoff import backoff
from services.shared.clock import Clock
from services.shared.manifests import MANIFEST, File, Manifest, digest_of_files, make
from services.shared.objectstore import Conflict, ObjectStore
from services.shared.registry import Reference, Registry, UnknownVersion, object_name
from trainer.checkpoint import Checkpoint

ALIAS_TRIES = 30


@dataclass(frozen=True, slots=True)
class Published:
    manifest: Manifest
    is_new: bool
    """False: this very content had been published before."""


def describe(checkpoint: Checkpoint, *, model: str, source: str, created: int) -> Manifest:
    """Hashes every file. `created` in Unix seconds."""
    tokenizer = tuple(_file(path) for path in checkpoint.tokenizer)
    weights = tuple(_file(path) for path in checkpoint.weights)
    return make(
        model=model,
        created=created,
        architecture=checkpoint.architecture,
        context_tokens=checkpoint.context_tokens,
        vocab_size=checkpoint.vocab_size,
        files=(*(_file(path) for path in checkpoint.other), *tokenizer, *weights),
        weights_sha256=digest_of_files(weights),
        tokenizer_sha256=digest_of_files(tokenizer),
        source=source,
    )


async def publish(
    store: ObjectStore, checkpoint: Checkpoint, manifest: Manifest, progress: Callable[[int], None]
) -> Published:
    """Uploads what `manifest` describes; `progress` is told bytes as they go. Raises StoreError."""
    if await _exists(store, manifest):
        return Published(manifest, is_new=False)
    for path in checkpoint.files:
        await store.upload(object_name(manifest.model, manifest.version, path.name), path, progress)
    try:
        await store.put_new(object_name(manifest.model, manifest.version, MANIFEST), manifest.to_json())
    except Conflict:
        return Published(manifest, is_new=False)
    return Published(manifest, is_new=True)


async def point(store: ObjectStore, reference: Reference, version: str, *, clock: Clock, random: Random) -> None:
    """Moves an alias; of several that move it at once the last one wins. Raises Conflict after ALIAS_TRIES tries."""
    registry = Registry(store)
    for delay in islice(backoff(random, first_s=0.02, cap_s=0.5), ALIAS_TRIES):
        try:
            if await _alias(registry, reference) != version:
                await registry.move_alias(reference, version)
        except Conflict:
            await clock.sleep(delay)
        else:
            return
    raise Conflict(f"{reference}: somebody else moved it {ALIAS_TRIES} times in a row")


async def _exists(store: ObjectStore, manifest: Manifest) -> bool:
    try:
        await Registry(store).resolve(Reference(manifest.model, manifest.version))
    except UnknownVersion:
        return False
    return True


async def _alias(registry: Registry, reference: Reference) -> str | None:
    try:
        return await registry.alias(reference)
    except UnknownVersion:
        return None


def _file(path: Path) -> File:
    with path.open("rb") as opened:
        digest = hashlib.file_digest(opened, "sha256").hexdigest()
    return File(name=path.name, size=path.stat().st_size, sha256=digest)
