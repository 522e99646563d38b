"""Downloads model files to the local disk and verifies every byte against the manifest.

The folder of a version gets its name only when it is complete and verified. So every folder with a version's name can
be used. Until then its files are in a folder of their own, where the next call goes on.
"""

import asyncio
import json
import logging
import shutil
from collections.abc import Callable
from pathlib import Path, PurePath
from random import Random, SystemRandom
from typing import Any

from services.shared.clock import Clock
from services.shared.disk_contents import contents, take
from services.shared.folder_lock import FolderLock
from services.shared.lifecycle import unbroken
from services.shared.manifests import MANIFEST, File, Manifest
from services.shared.objectstore import Missing, ObjectStore
from services.shared.registry import object_name
from services.shared.remote_code import code_key, is_configuration
from services.shared.safetensors_header import DamagedTensors, read_tensors
from services.shared.signing import TrustedKeys, Untrusted
from services.shared.transfer import Transfer, TransferLimits, WrongSize

log = logging.getLogger(__name__)

# Formats that hold only data and no code. All others (.bin, .pt, .pkl, .py, ...) are refused.
_ALLOWED = {".safetensors", ".json", ".jinja", ".txt", ".model", ".md"}
_ALLOWED_NAMES = {"LICENSE"}
_WEIGHTS = ".safetensors"
_REPORT_EVERY_S = 5.0
_FILES_AT_ONCE = 4
"""More than one, because hashing a file takes one core."""
# Between two looks at the process that is staging the same version.
_WAIT_S = 0.2
PART = ".part-"
"""Name of the folder of a version that is being staged, before its version."""

MakeRoom = Callable[[int], None]
Watcher = Callable[[int, int], None]
"""Is told the bytes of a version that are on the disk, and all of its bytes."""


class RefusedModel(Exception):
    """The version must never be loaded. The message names the file and what is wrong with it."""


class Stager:
    """Stages verified versions in a folder.

    Args:
        store: Where the files come from.
        cache: Folder for the versions.
        clock: Paces the progress log.
        trusted: Only versions that one of these keys signed are staged.
        limits: How the files may be fetched.
        random: For the delays between two tries of a store that fails.
    """

    def __init__(
        self,
        store: ObjectStore,
        cache: Path,
        clock: Clock,
        trusted: TrustedKeys,
        limits: TransferLimits | None = None,
        random: Random | None = None,
    ) -> None:
        self._cache, self._clock, self._trusted = cache, clock, trusted
        self._transfer = Transfer(store, limits or TransferLimits(), clock=clock, random=random or SystemRandom())

    async def stage(
        self, manifest: Manifest, make_room: MakeRoom | None = None, watcher: Watcher | None = None
    ) -> Path:
        """Downloads and verifies a version unless it is staged already. The signature is checked first.

        Files that another version has here are taken from there. What an earlier call has fetched of the version is not
        fetched again, even if its process was killed. A process that is staging the same version is waited for.

        Args:
            manifest: The version.
            make_room: Is told the bytes that are missing before they are fetched, and may raise OSError.
            watcher: Follows the progress.

        Returns:
            The folder with the files.

        Raises:
            RefusedModel: The signature or a file is wrong.
            StoreError: The store failed.
            OSError: The disk failed, or `make_room` raised it.
        """
        self._check_signature(manifest)
        check_names(manifest)
        folder, part = self.folder_of(manifest), self._cache / f"{PART}{manifest.version}"
        if (lock := await self._claim(part, folder)) is None:
            log.info("%s is already staged: %s", manifest.model, folder)
            if watcher:
                watcher(_size(manifest), _size(manifest))
            return folder
        try:
            await self._fill(part, manifest, make_room, watcher)
            # Who waits for the folder may use it as soon as it has its name.
            lock.share()
            part.rename(folder)
        except (RefusedModel, Missing, OSError):
            shutil.rmtree(part, ignore_errors=True)
            raise
        finally:
            lock.release()
        return folder

    async def _claim(self, part: Path, folder: Path) -> FolderLock | None:
        """A lock on the folder for what is fetched; None: the version is staged. Waits for another process."""
        while (lock := _try_claim(part, folder)) is None and not _is_staged(folder):
            await self._clock.sleep(_WAIT_S)
        return lock

    def folder_of(self, manifest: Manifest) -> Path:
        """The folder of a version, which exists when the version is staged."""
        return self._cache / manifest.version

    def _check_signature(self, manifest: Manifest) -> None:
        try:
            self._trusted.check(manifest)
        except Untrusted as error:
            raise RefusedModel(str(error)) from None

    async def _fill(self, part: Path, manifest: Manifest, make_room: MakeRoom | None, watcher: Watcher | None) -> None:
        # Work in threads goes to its end, also if staging is cancelled: another process may then take the folder.
        missing = await unbroken(asyncio.to_thread(self._reuse, part, manifest))
        if make_room:
            await unbroken(asyncio.to_thread(make_room, missing))
        progress = _Progress(manifest, self._clock, watcher)
        files = iter(sorted(manifest.files, key=lambda file: file.size))

        async def work() -> None:
            for file in files:
                await self._fetch(part, manifest, file, progress.add)

        try:
            async with asyncio.TaskGroup() as group:
                for _ in range(_FILES_AT_ONCE):
                    group.create_task(work())
        except ExceptionGroup as errors:
            raise errors.exceptions[0] from None
        # In a thread, because a process that serves streams meanwhile must not block them.
        await unbroken(asyncio.to_thread(check_contents, part, manifest))
        (part / MANIFEST).write_bytes(manifest.to_json())
        log.info(
            "staged and verified %s@%s (%d files, %d MiB were missing)",
            manifest.model,
            manifest.version,
            len(manifest.files),
            missing >> 20,
        )

    def _reuse(self, part: Path, manifest: Manifest) -> int:
        """Takes what other versions have. Returns the bytes that are still missing. Raises OSError."""
        there = contents(self._cache, but=manifest.version)
        missing = 0
        for file in manifest.files:
            place = part / file.name
            if place.exists() and place.stat().st_nlink > 1 and place.stat().st_size != file.size:
                place.unlink()  # another version has it too, and it must not be written to
            if not place.exists() and file.sha256 in there:
                take(there[file.sha256], place, file)
            missing += file.size - (min(place.stat().st_size, file.size) if place.exists() else 0)
        return missing

    async def _fetch(self, part: Path, manifest: Manifest, file: File, progress: Callable[[int], None]) -> None:
        """Brings a file. If what was there already turns out to be wrong, all of it is fetched once more."""
        name, place = object_name(manifest.model, manifest.version, file.name), part / file.name
        was_there = place.exists() and place.stat().st_size > 0
        digest = await self._fetched(name, file, place, progress)
        if digest != file.sha256 and was_there:
            log.warning("%s: what was on this disk is damaged; fetching all of it", name)
            place.unlink()
            digest = await self._fetched(name, file, place, lambda _: None)
        if digest != file.sha256:
            raise RefusedModel(f"{name} is corrupt: its SHA-256 is {digest}, its manifest says {file.sha256}")

    async def _fetched(self, name: str, file: File, place: Path, progress: Callable[[int], None]) -> str:
        try:
            return await self._transfer.fetch(name, file.size, place, progress)
        except WrongSize as error:
            raise RefusedModel(f"{error}, its manifest says {file.size}") from None


def _try_claim(part: Path, folder: Path) -> FolderLock | None:
    """None: the version is staged, or another process is staging it."""
    if _is_staged(folder):
        return None
    part.mkdir(parents=True, exist_ok=True)
    lock = FolderLock.to_write(part)
    if lock and _is_staged(folder):  # by another process, just before this one made the folder
        part.rmdir()
        lock.release()
        return None
    return lock


def _is_staged(folder: Path) -> bool:
    return folder.is_dir()


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


def _size(manifest: Manifest) -> int:
    return sum(file.size for file in manifest.files)


class _Progress:
    """Logs the progress of a download every few seconds, and tells a watcher of each part."""

    def __init__(self, manifest: Manifest, clock: Clock, watcher: Watcher | None) -> None:
        self._manifest, self._clock, self._watcher = manifest, clock, watcher
        self._total = _size(manifest)
        self._done = 0
        self._reported_at = clock.monotonic()

    def add(self, count: int) -> None:
        self._done += count
        if self._watcher:
            self._watcher(self._done, self._total)
        if (now := self._clock.monotonic()) - self._reported_at >= _REPORT_EVERY_S:
            self._reported_at = now
            log.info("downloading %s: %d of %d MiB", self._manifest.model, self._done >> 20, self._total >> 20)
