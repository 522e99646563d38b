"""Publishing a checkpoint: files first, the manifest last, then the alias.

Until the manifest is there the version does not exist, so whatever stops a publish half-way leaves nothing to see.
A manifest is only ever replaced by itself with another signature: when the key that had signed it was replaced.
"""

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from random import Random

from services.shared.backoff import backoff
from services.shared.clock import Clock
from services.shared.manifests import MANIFEST, File, Golden, Manifest, digest_of_files, make, parse
from services.shared.objectstore import Conflict, Missing, ObjectStore
from services.shared.registry import Reference, Registry, UnknownVersion, object_name
from trainer.checkpoint import Checkpoint

ALIAS_TRIES = 30


@dataclass(frozen=True, slots=True)
class Published:
    """What publishing came to."""

    manifest: Manifest
    is_new: bool
    """False: this very content had been published before."""


@dataclass(frozen=True, slots=True)
class Provenance:
    """Where a version comes from: for people, and for those who prove that it is what it should be."""

    source: str
    parent: str | None = None
    training_job: str | None = None
    evaluation: Mapping[str, float] = field(default_factory=dict)
    golden: tuple[Golden, ...] = ()


def describe(checkpoint: Checkpoint, *, model: str, provenance: Provenance, created: int) -> Manifest:
    """Hashes every file. `created` in Unix seconds. Not signed yet."""
    tokenizer = tuple(file_of(path) for path in checkpoint.tokenizer)
    weights = tuple(file_of(path) for path in checkpoint.weights)
    return make(
        model=model,
        created=created,
        architecture=checkpoint.architecture,
        context_tokens=checkpoint.context_tokens,
        vocab_size=checkpoint.vocab_size,
        files=(*(file_of(path) for path in checkpoint.other), *tokenizer, *weights),
        weights_sha256=digest_of_files(weights),
        tokenizer_sha256=digest_of_files(tokenizer),
        source=provenance.source,
        parent=provenance.parent,
        training_job=provenance.training_job,
        evaluation=dict(provenance.evaluation),
        golden=provenance.golden,
    )


async def publish(
    store: ObjectStore, files: Sequence[Path], manifest: Manifest, progress: Callable[[int], None]
) -> Published:
    """Uploads the files that the signed `manifest` describes; `progress` is told bytes.

    Raises StoreError, and WrongManifest when something else lies where the manifest belongs.
    """
    if await _exists(store, manifest):
        return Published(manifest, is_new=False)
    for path in files:
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
    """Whether the version is published.

    If so, its manifest is written again: it counts as new, which keeps it from being pruned (prune.py), and it has the
    signature of this manifest's key.
    """
    name = object_name(manifest.model, manifest.version, MANIFEST)
    try:
        document, etag = await store.get(name)
        there = parse(document, expected_version=manifest.version)
        signed = there.model_copy(update={"signer": manifest.signer, "signature": manifest.signature})
        await store.put_if(name, signed.to_json(), etag)
    except Missing:
        return False
    except Conflict:  # somebody else has just done the same, or has removed it
        return name in [found async for found in store.list(object_name(manifest.model, manifest.version, ""))]
    return True


async def _alias(registry: Registry, reference: Reference) -> str | None:
    try:
        return await registry.alias(reference)
    except UnknownVersion:
        return None


def file_of(path: Path) -> File:
    """Reads it whole."""
    with path.open("rb") as opened:
        digest = hashlib.file_digest(opened, "sha256").hexdigest()
    return File(name=path.name, size=path.stat().st_size, sha256=digest)
