"""Importing a LoRA adapter: check a folder of PEFT's, find golden prompts on its base, publish it, move the alias."""

from pathlib import Path
from random import Random

from services.shared.adapters import ADAPTER_CONFIG, ADAPTER_FILES
from services.shared.architectures import SIMULATED
from services.shared.clock import Clock
from services.shared.manifests import Golden, Manifest
from services.shared.registry import Reference, Registry
from services.shared.scratch import scratch
from services.shared.signing import TrustedKeys
from services.shared.staging import RefusedModel, Stager
from trainer.adapters import adapter_manifest, check_adapter
from trainer.checkpoint import Folder
from trainer.errors import WrongCheckpoint
from trainer.imports import Target, Watcher
from trainer.publish import Provenance, Published, point, publish
from trainer.quiet import share_cores
from trainer.sources.source import WrongSource, model_name


class AdapterFolder:
    """A folder with adapter_config.json and adapter_model.safetensors, as PEFT's save_pretrained writes it."""

    def __init__(self, folder: Path) -> None:
        """Raises WrongSource when it is no folder with an adapter."""
        self.folder = folder
        if not (folder / ADAPTER_CONFIG).is_file():
            raise WrongSource(f"{folder} has no {ADAPTER_CONFIG}: it is no LoRA adapter")

    @property
    def name(self) -> str:
        """What the adapter is called unless the caller says otherwise."""
        return model_name(self.folder.resolve().name)

    @property
    def origin(self) -> str:
        """Where it comes from, for people; no path of this machine."""
        return f"the adapter folder {self.folder.resolve().name}"

    def prepare(self, scratch: Path) -> Path:
        """Returns the folder after checking it. Raises WrongCheckpoint."""
        check_adapter(self.folder)
        return self.folder


async def import_adapter(
    source: AdapterFolder,
    base: Reference,
    target: Target,
    watcher: Watcher,
    *,
    golden: bool = True,
    clock: Clock,
    random: Random,
) -> Published:
    """Publishes an adapter for the version that `base` names now.

    Args:
        source: The adapter.
        base: The model that it was trained on.
        target: Where it goes.
        watcher: Told how it goes.
        golden: Run base and adapter here to find golden prompts; this also proves that the adapter fits its base.
        clock: For the time of creation.
        random: For the delays between attempts to move the alias.

    Raises:
        UnknownVersion: The registry has no such base.
        WrongCheckpoint: The adapter cannot be served, or does not fit its base.
        StoreError: The store failed.
    """
    share_cores()
    manifest = await Registry(target.store).resolve(base)
    if manifest.kind != "model":
        raise WrongCheckpoint(f"{base} is no whole model ({manifest.kind}); --base names one")
    with scratch("import") as empty:
        watcher.preparing(source.name)
        folder = source.prepare(empty)
        found = await _golden(folder, manifest, target, empty, clock) if golden else ()
        paths = tuple(folder / name for name in ADAPTER_FILES)
        provenance = Provenance(source.origin, golden=found, publisher=target.publisher)
        draft = adapter_manifest(target.reference.model, paths, manifest, provenance, clock.wall())
        progress = watcher.uploading(sum(file.size for file in draft.files))
        published = await publish(target.store, Folder(folder), target.key.sign(draft), progress)
    await point(target.store, target.reference, published.manifest.version, clock=clock, random=random)
    return published


async def _golden(folder: Path, base: Manifest, target: Target, empty: Path, clock: Clock) -> tuple[Golden, ...]:
    """A simulated model has no weights that could answer."""
    if base.architecture == SIMULATED:
        return ()
    from trainer.golden import COMMON_QUESTIONS, golden_of_folder

    # Whoever imports may not know the key that signed the base; the adapter binds itself to this very version of it.
    trusted = TrustedKeys([base.signer] if base.signer else [target.key.public])
    try:
        weights = await Stager(target.store, empty, clock, trusted).stage(base)
    except RefusedModel as error:
        raise WrongCheckpoint(f"the base cannot be used: {error}") from None
    return golden_of_folder(weights, COMMON_QUESTIONS, parent=weights, adapter=folder)
