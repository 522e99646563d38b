"""Importing a model: find and check its files, publish them, move the alias.

A local source is brought into its final form in a scratch folder, and so is one GGUF file from elsewhere. Any other
remote source is published from where it is.
"""

import shutil
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from random import Random
from typing import Protocol

from services.shared.architectures import SIMULATED, Task, known_architectures
from services.shared.clock import Clock
from services.shared.manifests import Golden
from services.shared.objectstore import ObjectStore
from services.shared.registry import Reference
from services.shared.scratch import scratch
from services.shared.signing import SigningKey
from trainer.checkpoint import Checkpoint, read
from trainer.drafting import Drafting
from trainer.publish import Provenance, Published, describe, describe_files, offer, publish
from trainer.quiet import quiet, share_cores
from trainer.sources.gguf import convert
from trainer.sources.remote_gguf import RemoteGguf
from trainer.sources.source import RemoteSource, Source, WrongSource
from trainer.streamed import Streamed, find


class Watcher(Protocol):
    """Told how an import goes, for people."""

    def preparing(self, name: str) -> None:
        """The source is being found and checked, and brought into its final form."""
        ...

    def warning(self, text: str) -> None:
        """Something that people should know; the import goes on."""
        ...

    def fetching(self, total_bytes: int, why: str) -> Callable[[int], None]:
        """Files are read before they are published. Returns what is to be told the bytes that have just moved."""
        ...

    def asking(self, memory_bytes: int) -> None:
        """The model is loaded to find golden prompts, which takes this much memory."""
        ...

    def uploading(self, total_bytes: int) -> Callable[[int], None]:
        """Returns what is to be told the bytes that have just moved."""
        ...


@dataclass(frozen=True, slots=True)
class Target:
    """Where an import goes: the alias of a model, in a store, signed with a key. `publisher`: who, for people."""

    store: ObjectStore
    reference: Reference
    key: SigningKey
    publisher: str | None = None


class Import:
    """One import of a model.

    Args:
        target: Where the model goes.
        watcher: Who is told how it goes.
        golden: Load the model here to find golden prompts. None: only if its files are on this machine anyway.
        clock: For the time of publishing.
        random: For the delays when somebody else moves the alias.
        drafting: What a speculator drafts for; None: a whole model is imported. A speculator has no golden prompts of
            its own: those of its target prove it.
    """

    def __init__(
        self,
        target: Target,
        watcher: Watcher,
        *,
        golden: bool | None,
        clock: Clock,
        random: Random,
        drafting: Drafting | None = None,
    ) -> None:
        self._target, self._watcher, self._golden = target, watcher, golden
        self._clock, self._random, self._drafting = clock, random, drafting

    async def run(self, source: Source | RemoteSource | RemoteGguf) -> Published:
        """Raises WrongCheckpoint, WrongSource, WrongManifest, Changed, MovesByRollout, StoreError, OSError."""
        share_cores()
        self._watcher.preparing(source.name)
        match source:
            case RemoteSource():
                published = await self._remote(await find(source.place))
            case RemoteGguf():
                published = await self._gguf(source)
            case _:
                with scratch("import") as empty:
                    published = await self._local(source.prepare(empty), source.origin, golden=self._wants_golden)
        aliases = await offer(
            self._target.store,
            self._target.reference,
            published.manifest.version,
            clock=self._clock,
            random=self._random,
        )
        return replace(published, aliases=aliases)

    @property
    def _wants_golden(self) -> bool:
        """Whether to find golden prompts of a model whose files are on this machine."""
        return self._golden is not False and not self._drafting

    async def _gguf(self, source: RemoteGguf) -> Published:
        listing, name = await source.find()
        for text in listing.warnings:
            self._watcher.warning(text)
        size = listing.files[name].size
        with scratch("import") as empty:
            _want_room(empty, size, f"{name} is converted on this machine")
            file = await source.fetch(listing, name, empty, self._watcher.fetching(size, "fetching"))
            converted = empty / "converted"
            converted.mkdir()
            convert(file, converted)
            file.unlink()
            return await self._local(converted, f"{listing.origin}/{name}", golden=self._wants_golden)

    async def _remote(self, found: Streamed) -> Published:
        for text in found.warnings:
            self._watcher.warning(text)
        if self._golden or self._drafting:
            return await self._by_disk(found)
        files = await found.files(
            self._watcher.fetching(sum(map(found.size_of, found.unmeasured)), "measuring")
            if found.unmeasured
            else _quiet
        )
        draft = describe_files(
            found.selection,
            files,
            found.config,
            model=self._target.reference.model,
            provenance=Provenance(found.listing.origin, publisher=self._target.publisher),
            created=int(self._clock.wall()),
        )
        progress = self._watcher.uploading(found.size)
        return await publish(self._target.store, found, self._target.key.sign(draft), progress)

    async def _by_disk(self, found: Streamed) -> Published:
        """Golden prompts need the whole model on this machine, for as long as it is imported; so does a speculator."""
        why, instead = "golden prompts need the model on this machine", ", or leave --golden out"
        if self._drafting:
            why, instead = "a speculator is compared with its target on this machine", ""
        with scratch("import") as empty:
            _want_room(empty, found.size, why, instead)
            await found.save(empty, self._watcher.fetching(found.size, "fetching"))
            return await self._local(empty, found.listing.origin, golden=self._wants_golden, is_told=True)

    async def _local(self, folder: Path, origin: str, *, golden: bool, is_told: bool = False) -> Published:
        checkpoint = read(folder)
        for text in () if is_told else checkpoint.warnings:
            self._watcher.warning(text)
        if self._drafting:
            self._drafting.check(checkpoint)
        found = self._find_golden(checkpoint) if golden else ()
        provenance = Provenance(origin, golden=found, publisher=self._target.publisher)
        draft = describe(
            checkpoint,
            model=self._target.reference.model,
            provenance=provenance,
            created=int(self._clock.wall()),
            speculates=self._drafting.speculates if self._drafting else None,
        )
        progress = self._watcher.uploading(checkpoint.size)
        return await publish(self._target.store, checkpoint, self._target.key.sign(draft), progress)

    def _find_golden(self, checkpoint: Checkpoint) -> tuple[Golden, ...]:
        """A simulated model has no weights that could answer; a draft model and one that embeds answer nothing."""
        architecture = checkpoint.config.architecture
        if architecture == SIMULATED or known_architectures().task(architecture) in (Task.DRAFT, Task.POOLING):
            return ()
        self._watcher.asking(checkpoint.float32_size)
        quiet()
        from trainer.golden import COMMON_QUESTIONS, CannotAnswer, golden_of_folder

        try:
            return golden_of_folder(checkpoint.folder, COMMON_QUESTIONS)
        except CannotAnswer as error:
            self._watcher.warning(f"there are no golden prompts, so workers will not prove this version: {error}")
            return ()


def _want_room(folder: Path, size: int, why: str, instead: str = "") -> None:
    if (free := shutil.disk_usage(folder).free) < size:
        raise WrongSource(
            f"{why}: {size} bytes, and {folder.parent} has {free} free. Set TMPDIR to a larger disk{instead}"
        )


def _quiet(_: int) -> None:
    """There is nothing to be told."""
