"""Publishing small models as an import does, and a look at what the registry shows meanwhile."""

from pathlib import Path
from random import Random

from services.shared.clock import SystemClock
from services.shared.manifests import Manifest
from services.shared.objectstore import ObjectStore
from services.shared.registry import CANDIDATE, Reference, Registry
from services.shared.version_check import faults
from tests.support.signing import KEY, TRUSTED
from trainer.checkpoint import Checkpoint, read
from trainer.publish import Provenance, describe, offer, publish
from trainer.sources.simulated import SimulatedModel

MODEL = "tiny"


def checkpoint_of(folder: Path, seed: int) -> Checkpoint:
    """A made-up model in a folder of its own."""
    made = folder / str(seed)
    made.mkdir()
    return read(SimulatedModel(seed).prepare(made))


def described(checkpoint: Checkpoint, created: int = 1) -> Manifest:
    """Its manifest, signed."""
    return KEY.sign(describe(checkpoint, model=MODEL, provenance=Provenance("a test"), created=created))


async def published(store: ObjectStore, checkpoint: Checkpoint, random: Random) -> bool:
    """What `tidegate models import` does with a checkpoint. Returns whether it was new."""
    made = await publish(store, checkpoint, described(checkpoint), lambda _: None)
    await offer(store, Reference(MODEL, CANDIDATE), made.manifest.version, clock=SystemClock(), random=random)
    return made.is_new


async def seen(store: ObjectStore) -> set[str]:
    """The versions of the registry. Checks that all of them are whole, and that aliases name nothing else."""
    registry = Registry(store)
    aliases = set((await registry.aliases()).values())
    versions = [manifest async for manifest in registry.versions()]
    for manifest in versions:
        assert await faults(store, manifest, TRUSTED, lambda _: None) == []
    assert aliases <= {manifest.version for manifest in versions}
    return {manifest.version for manifest in versions}
