"""The way of a run's result into the registry, and to the workers if the recipe says so."""

from collections.abc import AsyncIterator
from dataclasses import dataclass, replace
from pathlib import Path
from random import Random

from services.shared.adapters import ADAPTER_FILES
from services.shared.clock import Clock
from services.shared.manifests import Golden, Manifest, Speculates
from services.shared.registry import CANDIDATE, DEFAULT_ALIAS, Reference
from trainer.adapters import adapter_manifest, check_adapter
from trainer.announce import Announcer, Way
from trainer.checkpoint import Folder, read
from trainer.errors import Unfit
from trainer.order import Order
from trainer.publish import Content, Provenance, Published, describe, offer, point, publish
from trainer.recipe import ADAPTER_SUFFIX, Publish
from trainer.registrar import Registrar
from trainer.report.files import DOCUMENT, PAGE, REPORT
from trainer.report.files import files as report_files
from trainer.served_checks import ServedChecks, check_schemas
from trainer.watcher import Watcher

MERGED, ADAPTER = "merged", "adapter"
"""Folders of a run: the whole model, and the adapter alone."""


@dataclass(frozen=True, slots=True)
class Made:
    """What a run made. folder: its own, with MERGED and perhaps ADAPTER; base: folder of the base.

    manifest: of the base. A new model has none, and no adapter. speculates: what a draft model drafts for.
    """

    folder: Path
    base: Path
    manifest: Manifest | None
    speculates: Speculates | None = None


class Delivery:
    """Publishes what a run made."""

    def __init__(self, registrar: Registrar, watcher: Watcher, *, clock: Clock, random: Random) -> None:
        self._registrar, self._watcher = registrar, watcher
        self._clock, self._random = clock, random

    async def send(self, wanted: Publish, made: Made, provenance: Provenance, way: Way | None = None) -> list[Manifest]:
        """Publishes what the recipe wants of it.

        Args:
            wanted: Of the recipe.
            made: By the run.
            provenance: Where it comes from, with the golden prompts of the whole model.
            way: How a rollout proves it. Default: as the pool says.

        Returns:
            The manifests of what was published.

        Raises:
            WrongCheckpoint: The result is no model that can be served.
            StoreError: The object store failed.
            NotAnnounced: No router could be told of the rollout.
            RolloutFailed: The rollout ended otherwise than it should.
        """
        provenance = replace(provenance, report=report_files(made.folder))
        sent: list[Manifest] = []
        if wanted.adapter:
            sent.append(await self._send_adapter(wanted, made, provenance))
        if wanted.merged:
            sent.append(await self._send_merged(wanted, made, provenance))
        if wanted.rollout:
            await self._roll_out(wanted, sent[-1], way)
        return sent

    async def _roll_out(self, wanted: Publish, manifest: Manifest, way: Way | None) -> None:
        self._watcher.phase(f"rolling out {wanted.name}")
        own = self._registrar
        announcer = Announcer(own.store, own.routers, own.tls, clock=self._clock, random=self._random)
        await announcer.roll_out(wanted.name, manifest, limit_s=wanted.rollout_limit_s, way=way)

    async def _send_merged(self, wanted: Publish, made: Made, provenance: Provenance) -> Manifest:
        checkpoint = read(made.folder / MERGED, scores=True)
        draft = describe(
            checkpoint,
            model=wanted.name,
            provenance=provenance,
            created=int(self._clock.wall()),
            speculates=made.speculates,
        )
        sent = await self._send_files(_WithReport(checkpoint, made.folder), draft)
        to = Reference(draft.model, wanted.alias or CANDIDATE)
        await offer(self._registrar.store, to, sent.version, clock=self._clock, random=self._random)
        return sent

    async def _send_adapter(self, wanted: Publish, made: Made, provenance: Provenance) -> Manifest:
        paths = tuple(made.folder / ADAPTER / name for name in ADAPTER_FILES)
        check_adapter(made.folder / ADAPTER)
        proof = replace(provenance, golden=_adapter_golden(made, provenance.golden))
        if made.manifest is None:
            raise AssertionError("a new model has no adapter")
        draft = adapter_manifest(wanted.name + ADAPTER_SUFFIX, paths, made.manifest, proof, self._clock.wall())
        sent = await self._send_files(_WithReport(Folder(made.folder / ADAPTER), made.folder), draft)
        to = Reference(draft.model, wanted.alias or DEFAULT_ALIAS)
        await point(self._registrar.store, to, sent.version, clock=self._clock, random=self._random)
        return sent

    async def _send_files(self, content: Content, draft: Manifest) -> Manifest:
        self._watcher.phase(f"publishing {draft.model}")
        progress = self._watcher.uploading(sum(file.size for file in (*draft.files, *draft.report)))
        sent: Published = await publish(self._registrar.store, content, self._registrar.key.sign(draft), progress)
        return sent.manifest


@dataclass(frozen=True, slots=True)
class _WithReport:
    """The files of a version, and the report of its run."""

    content: Content
    run: Path

    def read(self, name: str) -> AsyncIterator[bytes]:
        """The content of a file, in chunks."""
        return Folder(self.run / REPORT).read(name) if name in (PAGE, DOCUMENT) else self.content.read(name)


def _adapter_golden(made: Made, golden: tuple[Golden, ...]) -> tuple[Golden, ...]:
    from trainer.golden import golden_of_adapter

    return golden_of_adapter(made.base, made.folder / ADAPTER, golden)


def way_of(order: Order, *, in_steps: bool) -> Way:
    """How a rollout proves the result of a run.

    Args:
        order: The run.
        in_steps: Whether it is a canary in any case; one whose answers are checked always is.

    Raises:
        Unfit: The recipe has checks of the served candidate, and they cannot be asked, or are none.
    """
    plan = order.recipe.evaluate
    if plan is None or not plan.served:
        return Way(in_steps)
    if order.gateway is None:
        raise Unfit(
            "evaluate.served asks the candidate through the gateway: set TIDEGATE_GATEWAY_URL and"
            " TIDEGATE_GATEWAY_API_KEY, the key of a tenant in rollout.canary_tenants of the pool"
        )
    check_schemas(plan.served)
    return Way(True, ServedChecks(plan.served, plan.served_min, order.gateway))
