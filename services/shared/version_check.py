"""Checks a published version where it lies: its signature, the formats of its files, and every byte of them."""

import hashlib

from services.shared.manifests import File, Manifest
from services.shared.objectstore import Missing, ObjectStore, Progress
from services.shared.registry import object_name
from services.shared.signing import TrustedKeys, Untrusted
from services.shared.staging import RefusedModel, check_names


async def faults(store: ObjectStore, manifest: Manifest, trusted: TrustedKeys, progress: Progress) -> list[str]:
    """Reads a whole version, and compares it with its manifest.

    Args:
        store: The registry's.
        manifest: The version.
        trusted: The keys that may have signed it.
        progress: Is told the bytes that have just been read.

    Returns:
        What is wrong, a sentence each. Workers load no version with a fault.

    Raises:
        StoreError: The store failed.
    """
    found = [_untrusted(manifest, trusted), _unsafe(manifest)]
    found += [await _damage(store, manifest, file, progress) for file in manifest.files]
    return [fault for fault in found if fault]


def _untrusted(manifest: Manifest, trusted: TrustedKeys) -> str | None:
    try:
        trusted.check(manifest)
    except Untrusted as error:
        return str(error)
    return None


def _unsafe(manifest: Manifest) -> str | None:
    try:
        check_names(manifest)
    except RefusedModel as error:
        return str(error)
    return None


async def _damage(store: ObjectStore, manifest: Manifest, file: File, progress: Progress) -> str | None:
    digest, size = hashlib.sha256(), 0
    try:
        async for chunk in store.stream(object_name(manifest.model, manifest.version, file.name)):
            digest.update(chunk)
            size += len(chunk)
            progress(len(chunk))
    except Missing:
        return f"{file.name} is missing"
    if size != file.size:
        return f"{file.name} has {size} bytes, the manifest says {file.size}"
    if digest.hexdigest() != file.sha256:
        return f"{file.name} is not what was signed: its SHA-256 is {digest.hexdigest()}"
    return None
