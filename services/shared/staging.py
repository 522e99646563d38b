"""Downloads model files to the local disk and verifies every byte against the manifest.

The folder of a version gets its name only when it is complete and verified. So every folder with a version's name can
be used.
"""

import asyncio
import json
import logging
import shutil
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path, PurePath
from typing import Any

from services.shared.clock import Clock
from services.shared.folder_lock import FolderLock
from services.shared.manifests import MANIFEST, File, Manifest
from services.shared.objectstore import ObjectStore
from services.shared.registry import object_name
from services.shared.remote_code import code_key, is_configuration
from services.shared.safetensors_header import DamagedTensors, read_tensors
from services.shared.signing import TrustedKeys, Untrusted

log = logging.getLogger(__name__)

# Formats that hold only data and no code. All others (.bin, .pt, .pkl, .py, ...) are refused.
_ALLOWED = {".safetensors", ".json", ".jinja", ".txt", ".model", ".md"}
_ALLOWED_NAMES = {"LICENSE"}
_WEIGHTS = ".safetensors"
_REPORT_EVERY_S = 5.0


class RefusedModel(Exception):
    """The version must never be loaded. The message names the file and what is wrong with it."""


class Stager:
    """Stages verified versions in a folder.

    Args:
        store: Where the files come from.
        cache: Folder for the versions.
        clock: Paces the progress log.
        trusted: Only versions that one of these keys signed are staged.
    """

    def __init__(self, store: ObjectStore, cache: Path, clock: Clock, trusted: TrustedKeys) -> None:
        self._store, self._cache, self._clock, self._trusted = store, cache, clock, trusted

    async def stage(self, manifest: Manifest) -> Path:
        """Downloads and verifies a version unless it is staged already. The signature is checked first.

        Returns:
            The folder with the files.

        Raises:
            RefusedModel: The signature or a file is wrong.
            StoreError: The store failed.
        """
        self._check_signature(manifest)
        check_names(manifest)
        folder = self.folder_of(manifest)
        if folder.is_dir():
            log.info("%s is already staged: %s", manifest.model, folder)
            return folder
        self._cache.mkdir(parents=True, exist_ok=True)
        part = Path(tempfile.mkdtemp(prefix=f".part-{manifest.version}-", dir=self._cache))
        lock = FolderLock.to_use(part)
        try:
            await self._fill(part, manifest)
            _move(part, folder)
        finally:
            shutil.rmtree(part, ignore_errors=True)
            if lock:
                lock.release()
        return folder

    def folder_of(self, manifest: Manifest) -> Path:
        """The folder of a version, which exists when the version is staged."""
        return self._cache / manifest.version

    def _check_signature(self, manifest: Manifest) -> None:
        try:
            self._trusted.check(manifest)
        except Untrusted as error:
            raise RefusedModel(str(error)) from None

    async def _fill(self, part: Path, manifest: Manifest) -> None:
        progress = _Progress(manifest, self._clock)
        for file in manifest.files:
            await self._fetch(part, manifest, file, progress.add)
        # In a thread, because a process that serves streams meanwhile must not block them.
        await asyncio.to_thread(check_contents, part, manifest)
        (part / MANIFEST).write_bytes(manifest.to_json())
        log.info("staged and verified %s@%s (%d files)", manifest.model, manifest.version, len(manifest.files))

    async def _fetch(self, part: Path, manifest: Manifest, file: File, progress: Callable[[int], None]) -> None:
        name = object_name(manifest.model, manifest.version, file.name)
        budget = _Budget(file.size, lambda: RefusedModel(f"{name} is larger than the manifest says: {file.size} bytes"))

        def arrived(count: int) -> None:
            budget.spend(count)
            progress(count)

        place = part / file.name
        place.parent.mkdir(parents=True, exist_ok=True)
        digest = await self._store.download(name, place, arrived)
        if (size := place.stat().st_size) != file.size:
            raise RefusedModel(f"{name} has {size} bytes, its manifest says {file.size}")
        if digest != file.sha256:
            raise RefusedModel(f"{name} is corrupt: its SHA-256 is {digest}, its manifest says {file.sha256}")


def check_names(manifest: Manifest) -> None:
    """Checks that no file can contain code.

    Raises:
        RefusedModel: A file has a format that is not allowed.
    """
    for file in manifest.files:
        if PurePath(file.name).suffix not in _ALLOWED and file.name not in _ALLOWED_NAMES:
            raise RefusedModel(
                f"{manifest.model}: {file.name} does not have a safe format ({', '.join(sorted(_ALLOWED))})"
            )


def check_contents(folder: Path, manifest: Manifest) -> None:
    """Checks the configuration files, weight indexes and headers of the weights of a version.

    Raises:
        RefusedModel: A file is not a JSON object, a configuration asks for code of the model's own, an index names
            what does not belong to the version, or a file of weights is damaged: no engine could read it.
    """
    names = {file.name for file in manifest.files}
    tensors = {name: _tensors(folder, name, manifest) for name in sorted(names) if name.endswith(_WEIGHTS)}
    for name in sorted(names):
        if is_configuration(name):
            if key := code_key(_json(folder, name, manifest)):
                raise RefusedModel(f"{manifest.model}: {name} asks for remote code ({key})")
        elif name.endswith(".index.json"):
            shards = _json(folder, name, manifest).get("weight_map")
            if not isinstance(shards, dict) or not names.issuperset(map(str, shards.values())):
                raise RefusedModel(f"{manifest.model}: {name} names weight files that do not belong to the version")
            for tensor, shard in shards.items():
                if tensor not in tensors.get(shard, ()):
                    raise RefusedModel(f"{manifest.model}: {name} looks for {tensor[:100]} in {shard}: it is not there")


def _tensors(folder: Path, name: str, manifest: Manifest) -> frozenset[str]:
    try:
        return frozenset(tensor.name for tensor in read_tensors(folder / name))
    except DamagedTensors as error:
        raise RefusedModel(f"{manifest.model}: {name} is not a whole safetensors file: {error}") from None


def _json(folder: Path, name: str, manifest: Manifest) -> dict[str, Any]:
    try:
        document = json.loads((folder / name).read_bytes())
    except (ValueError, RecursionError) as error:
        raise RefusedModel(f"{manifest.model}: {name} is not JSON: {error}") from None
    if not isinstance(document, dict):
        raise RefusedModel(f"{manifest.model}: {name} is not a JSON object")
    return document


def _move(part: Path, folder: Path) -> None:
    """Another worker on this machine may have staged the same version meanwhile; then its folder is used."""
    try:
        part.rename(folder)
    except OSError:
        if not folder.is_dir():
            raise


@dataclass(slots=True)
class _Budget:
    left: int
    error: Callable[[], Exception]

    def spend(self, count: int) -> None:
        self.left -= count
        if self.left < 0:
            raise self.error()


class _Progress:
    """Logs the progress of a download every few seconds."""

    def __init__(self, manifest: Manifest, clock: Clock) -> None:
        self._manifest, self._clock = manifest, clock
        self._total = sum(file.size for file in manifest.files)
        self._done = 0
        self._reported_at = clock.monotonic()

    def add(self, count: int) -> None:
        self._done += count
        if (now := self._clock.monotonic()) - self._reported_at >= _REPORT_EVERY_S:
            self._reported_at = now
            log.info("downloading %s: %d of %d MiB", self._manifest.model, self._done >> 20, self._total >> 20)
