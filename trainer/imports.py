"""Importing a model: bring a source into a scratch folder, check it, publish it, move the alias."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Protocol

from services.shared.clock import Clock
from services.shared.manifests import Golden
from services.shared.objectstore import ObjectStore
from services.shared.registry import Reference
from services.shared.scratch import scratch
from services.shared.signing import SigningKey
from trainer.checkpoint import Checkpoint, read
from trainer.publish import Provenance, Published, describe, point, publish
from trainer.quiet import share_cores
from trainer.sources.simulated import ARCHITECTURE as SIMULATED
from trainer.sources.source import Source


class Watcher(Protocol):
    """Told how an import goes, for people."""

    def preparing(self, source: Source) -> None:
        """The source is being brought into its final form."""
        ...

    def uploading(self, total_bytes: int) -> Callable[[int], None]:
        """Returns what is to be told the bytes that have just moved."""
        ...


@dataclass(frozen=True, slots=True)
class Target:
    """Where an import goes: the alias of a model, in a store, signed with a key."""

    store: ObjectStore
    reference: Reference
    key: SigningKey


async def import_model(
    source: Source, target: Target, watcher: Watcher, *, golden: bool = True, clock: Clock, random: Random
) -> Published:
    """`golden`: run the model here to find golden prompts. Raises WrongCheckpoint, WrongSource, StoreError."""
    share_cores()
    with scratch("import") as empty:
        watcher.preparing(source)
        folder = source.prepare(empty)
        checkpoint = read(folder)
        provenance = Provenance(source.origin, golden=_golden(folder, checkpoint) if golden else ())
        draft = describe(checkpoint, model=target.reference.model, provenance=provenance, created=int(clock.wall()))
        progress = watcher.uploading(checkpoint.size)
        published = await publish(target.store, checkpoint.files, target.key.sign(draft), progress)
    await point(target.store, target.reference, published.manifest.version, clock=clock, random=random)
    return published


def _golden(folder: Path, checkpoint: Checkpoint) -> tuple[Golden, ...]:
    """A simulated model has no weights that could answer."""
    if checkpoint.architecture == SIMULATED:
        return ()
    from trainer.golden import COMMON_QUESTIONS, golden_of_folder

    return golden_of_folder(folder, COMMON_QUESTIONS)
