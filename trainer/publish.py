"""Publishing a checkpoint: files first, the manifest last, then the alias.

Publishing a model moves the alias `candidate`. What pools follow, `latest` and `stable`, moves by a rollout; only the
first version of a model gets `latest` at once, since no worker can serve the model yet.

Until the manifest is there the version does not exist, so whatever stops a publish half-way leaves nothing to see.
A manifest is only ever replaced by itself with another signature: when the key that had signed it was replaced.
"""

import hashlib
from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from random import Random
from typing import Protocol

from services.shared.backoff import backoff
from services.shared.clock import Clock
from services.shared.manifests import (
    MANIFEST,
    File,
    Golden,
    Manifest,
    Measured,
    Speculates,
    Training,
    digest_of_files,
    make,
    parse,
)
from services.shared.objectstore import Conflict, Missing, ObjectStore
from services.shared.registry import MOVED_BY_ROLLOUT, Reference, Registry, UnknownVersion, object_name
from trainer.checkpoint import Checkpoint
from trainer.model_config import ModelConfig
from trainer.parallel import each
from trainer.selection import Selection

ALIAS_TRIES = 30
FILES_AT_ONCE = 4
"""Files that are uploaded at the same time. Each takes some 40 MiB of memory meanwhile."""


@dataclass(frozen=True, slots=True)
class Published:
    """What publishing came to."""

    manifest: Manifest
    is_new: bool
    """False: this very content had been published before."""
    aliases: tuple[str, ...] = ()
    """Those that point to it, as far as publishing has asked."""


@dataclass(frozen=True, slots=True)
class Provenance:
    """Where a version comes from: for people, and for those who prove that it is what it should be."""

    source: str
    parent: str | None = None
    training_job: str | None = None
    training: Training | None = None
    evaluation: Mapping[str, float | Measured] = field(default_factory=dict)
    golden: tuple[Golden, ...] = ()
    report: tuple[File, ...] = ()
    publisher: str | None = None


class Content(Protocol):
    """The files of a version, wherever they lie."""

    def read(self, name: str) -> AsyncIterator[bytes]:
        """The content of a file, in chunks."""
        ...


class Changed(Exception):
    """A file is no longer what it was when its version was described; the message names it."""


def describe(
    checkpoint: Checkpoint,
    *,
    model: str,
    provenance: Provenance,
    created: int,
    speculates: Speculates | None = None,
) -> Manifest:
    """Hashes every file. `created` in Unix seconds. `speculates`: of a speculator. Not signed yet."""
    files = {
        name: file_with(name, checkpoint.rewritten[name])
        if name in checkpoint.rewritten
        else file_of(checkpoint.folder / name, name)
        for name in checkpoint.selection.names
    }
    return describe_files(
        checkpoint.selection,
        files,
        checkpoint.config,
        model=model,
        provenance=provenance,
        created=created,
        speculates=speculates,
    )


def describe_files(
    selection: Selection,
    files: Mapping[str, File],
    config: ModelConfig,
    *,
    model: str,
    provenance: Provenance,
    created: int,
    speculates: Speculates | None = None,
) -> Manifest:
    """The manifest of a version whose files are known; with `speculates`, of a speculator. Not signed yet."""
    weights = tuple(files[name] for name in selection.weights)
    tokenizer = tuple(files[name] for name in selection.tokenizer)
    return make(
        model=model,
        kind="speculator" if speculates else "model",
        speculates=speculates,
        created=created,
        architecture=config.architecture,
        context_tokens=config.context_tokens,
        vocab_size=config.vocab_size,
        files=tuple(files[name] for name in selection.names),
        weights_sha256=digest_of_files(weights),
        tokenizer_sha256=digest_of_files(tokenizer),
        source=provenance.source,
        parent=provenance.parent,
        training_job=provenance.training_job,
        training=provenance.training,
        evaluation=dict(provenance.evaluation),
        golden=provenance.golden,
        report=provenance.report,
        publisher=provenance.publisher,
    )


async def publish(
    store: ObjectStore, content: Content, manifest: Manifest, progress: Callable[[int], None]
) -> Published:
    """Uploads the files that the signed `manifest` describes, FILES_AT_ONCE at a time; `progress` is told bytes.

    A file that is in the bucket already, from a publish that was stopped, is not sent again.

    Raises StoreError, Changed, and WrongManifest when something else lies where the manifest belongs; also what
    `content` raises.
    """
    if await _exists(store, manifest):
        return Published(manifest, is_new=False)
    await _upload_all(store, content, manifest, progress)
    try:
        await store.put_new(object_name(manifest.model, manifest.version, MANIFEST), manifest.to_json())
    except Conflict:
        return Published(manifest, is_new=False)
    return Published(manifest, is_new=True)


async def _upload_all(
    store: ObjectStore, content: Content, manifest: Manifest, progress: Callable[[int], None]
) -> None:
    there = {entry.name: entry.size async for entry in store.entries(object_name(manifest.model, manifest.version, ""))}
    files = {file.name: file for file in (*manifest.files, *manifest.report)}

    async def upload(name: str) -> None:
        file, target = files[name], object_name(manifest.model, manifest.version, name)
        if there.get(target) == file.size:
            progress(file.size)
        else:
            await store.write(target, _verified(content, file, progress), file.size)

    await each(files, upload, FILES_AT_ONCE)


async def _verified(content: Content, file: File, progress: Callable[[int], None]) -> AsyncIterator[bytes]:
    """Its chunks. An upload that an error ends leaves no object."""
    digest, size = hashlib.sha256(), 0
    async for chunk in content.read(file.name):
        digest.update(chunk)
        size += len(chunk)
        yield chunk
        progress(len(chunk))
    if (size, digest.hexdigest()) != (file.size, file.sha256):
        raise Changed(f"{file.name} is not what it was, or did not arrive as it is: start the import again")


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


class MovesByRollout(Exception):
    """The version is published, but its alias is one that only a rollout moves; the message says what to do."""


async def offer(
    store: ObjectStore, reference: Reference, version: str, *, clock: Clock, random: Random
) -> tuple[str, ...]:
    """Points an alias to a version of a model that was just published, and `latest` too if the model has none.

    Args:
        store: The registry's.
        reference: The model, and the alias to move.
        version: What was published.
        clock: For the delays when somebody else moves the alias.
        random: For these delays.

    Returns:
        The aliases that point to the version now, of these two.

    Raises:
        MovesByRollout: The alias is `latest` or `stable`, and points to another version.
        Conflict: Somebody else moved the alias ALIAS_TRIES times in a row.
    """
    registry = Registry(store)
    first = Reference(reference.model)
    if await _alias(registry, first) is None:
        await point(store, first, version, clock=clock, random=random)
    if reference.which in MOVED_BY_ROLLOUT and await _alias(registry, reference) not in (None, version):
        raise MovesByRollout(
            f"{reference.model}@{version} is published, and {reference} stays where it is: it moves by a rollout. "
            f"Bring the workers there: tidegate models promote {reference.model} {version[:12]}"
            + ("" if reference == first else f" --alias {reference.which}")
        )
    await point(store, reference, version, clock=clock, random=random)
    is_first = await _alias(registry, first) == version
    return tuple(dict.fromkeys((reference.which, *((first.which,) if is_first else ()))))


async def _exists(store: ObjectStore, manifest: Manifest) -> bool:
    """Whether the version is published.

    If so, its manifest is written again: it counts as new, so that it stays for some days (garbage.py), and it has the
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


def file_of(path: Path, name: str | None = None) -> File:
    """Reads it whole. `name`: what the version calls it, if not as the file is called."""
    with path.open("rb") as opened:
        digest = hashlib.file_digest(opened, "sha256").hexdigest()
    return File(name=name or path.name, size=path.stat().st_size, sha256=digest)


def file_with(name: str, content: bytes) -> File:
    """A file that has this content."""
    return File(name=name, size=len(content), sha256=hashlib.sha256(content).hexdigest())
