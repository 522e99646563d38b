"""Importing a model: bring a source into a scratch folder, check it, publish it, move the alias."""

import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Protocol

from services.shared.clock import Clock
from services.shared.objectstore import ObjectStore
from services.shared.registry import Reference
from trainer.checkpoint import read
from trainer.publish import Published, describe, point, publish
from trainer.sources.source import Source


class Watcher(Protocol):
    """Told how an import goes, for people."""

    def preparing(self, source: Source) -> None: ...

    def uploading(self, total_bytes: int) -> Callable[[int], None]:
        """Returns what is to be told the bytes that have just moved."""
        ...


@dataclass(frozen=True, slots=True)
class Target:
    """Where an import goes: the alias of a model, in a store."""

    store: ObjectStore
    reference: Reference


async def import_model(source: Source, target: Target, watcher: Watcher, *, clock: Clock, random: Random) -> Published:
    """Raises WrongCheckpoint, WrongSource, StoreError."""
    with tempfile.TemporaryDirectory(prefix="tidegate-import-") as scratch:
        watcher.preparing(source)
        checkpoint = read(source.prepare(Path(scratch)))
        manifest = describe(checkpoint, model=target.reference.model, source=source.origin, created=int(clock.wall()))
        published = await publish(target.store, checkpoint, manifest, watcher.uploading(checkpoint.size))
    await point(target.store, target.reference, published.manifest.version, clock=clock, random=random)
    return published
