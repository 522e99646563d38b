"""A training run from recipe to registry. Started again with the same recipe and folder, it goes on where it was."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from random import Random
from typing import Any

from services.shared.adapters import ADAPTER_FILES
from services.shared.certificates import Tls
from services.shared.clock import Clock
from services.shared.folder_lock import FolderLock
from services.shared.manifests import Golden, Manifest, Measured, Training
from services.shared.objectstore import ObjectStore
from services.shared.registry import CANDIDATE, DEFAULT_ALIAS, Reference, Registry
from services.shared.signing import SigningKey, TrustedKeys
from services.shared.staging import Stager
from trainer import gate, loss_curve, record, remote_data
from trainer.adapters import adapter_manifest, check_adapter
from trainer.announce import Announcer
from trainer.checkpoint import Folder, read
from trainer.checksums import is_sealed
from trainer.data import reader
from trainer.data.report import Report
from trainer.data.sample import Conversation, Message, PreferencePair, Sample, Text, documents
from trainer.data.split import Split, split
from trainer.methods.preflight import check_manifest
from trainer.publish import Content, Provenance, Published, describe, offer, point, publish
from trainer.quiet import quiet, share_cores
from trainer.recipe import ADAPTER_SUFFIX, Publish, Recipe
from trainer.record import Counts, RunRecord
from trainer.watcher import Watcher

# Of each kind, for golden prompts: what was learnt, what was not, and what any chat model answers.
GOLDEN_TRAINED, GOLDEN_HELD_OUT, GOLDEN_COMMON = 6, 3, 3


@dataclass(frozen=True, slots=True)
class Registrar:
    """Where the base comes from and where the result goes. `trusted` are the keys that may have signed the base."""

    store: ObjectStore
    key: SigningKey
    trusted: TrustedKeys
    routers: Sequence[str] = ()
    tls: Tls | None = None
    publisher: str | None = None


@dataclass(frozen=True, slots=True)
class Order:
    """A run that is to be made. folder: its own; cache: of verified base models, shared between runs."""

    recipe: Recipe
    folder: Path
    cache: Path
    job: str | None = None


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a run came to. Losses are on held-out samples, in nats a token.

    report: what became of the records. figures: what the method measures of held-out samples beside the loss.
    """

    held_out_before: float
    held_out_after: float
    counts: Counts
    report: Report
    figures: dict[str, float]
    published: list[Manifest] = field(default_factory=list)

    @property
    def loss(self) -> Measured:
        """The loss of the result beside that of its base."""
        return Measured(value=self.held_out_after, parent=self.held_out_before)


@dataclass(frozen=True, slots=True)
class _Ingredients:
    recipe: Recipe
    folder: Path
    data: Path
    report: Report
    split: Split
    base: Path
    manifest: Manifest


class InUse(Exception):
    """Another process is making a run in that folder."""


class Run:
    """One training run from its recipe to the registry."""

    def __init__(self, order: Order, registrar: Registrar, watcher: Watcher, *, clock: Clock, random: Random) -> None:
        self._order, self._registrar, self._watcher = order, registrar, watcher
        self._clock, self._random = clock, random

    def make(self) -> Outcome:
        """Blocks for as long as it takes.

        Raises WrongData, AnotherRun, BrokenSeal, Diverged, Unfit, Worse, UnknownVersion, RefusedModel, WrongManifest,
        WrongCheckpoint, InUse, StoreError, NotAnnounced, RolloutFailed.
        """
        folder = self._order.folder
        folder.mkdir(parents=True, exist_ok=True)
        if (lock := FolderLock.to_write(folder)) is None:
            raise InUse(f"another process is making a run in {folder}")
        try:
            return self._make()
        finally:
            lock.release()

    def _make(self) -> Outcome:
        share_cores()
        quiet()
        found = self._ingredients()
        done = self._learnt(found)
        if done.held_out_before is None or done.held_out_after is None or done.counts is None:
            raise AssertionError("a finished run has measured itself")
        outcome = Outcome(done.held_out_before, done.held_out_after, done.counts, found.report, done.figures)
        if self._order.recipe.publish:
            gate.check(found.recipe.gate, outcome.loss, f"{found.manifest.model}@{found.manifest.version[:12]}")
            outcome.published.extend(self._publish(self._order.recipe.publish, found, outcome))
        return outcome

    # ---- what goes in ----

    def _ingredients(self) -> _Ingredients:
        order = self._order
        data = self._data()
        read = reader.load(data, order.recipe.format)
        for sentence in read.report.sentences():
            self._watcher.note(sentence)
        digest = record.digest(order.recipe, data)
        known = record.load(order.folder, digest)
        self._watcher.phase(f"fetching {order.recipe.base}")
        base, manifest = asyncio.run(self._fetch(known))
        if known is None:
            record.save(order.folder, RunRecord(digest=digest, base=manifest.version))
        sides = split(read.samples, order.recipe.held_out, Random(order.recipe.seed))  # noqa: S311
        return _Ingredients(order.recipe, order.folder, data, read.report, sides, base, manifest)

    def _data(self) -> Path:
        """Where the data lies on this machine."""
        named = self._order.recipe.data
        if isinstance(named, Path):
            return named
        self._watcher.phase(f"fetching {named}")
        return asyncio.run(remote_data.fetch(named, self._order.folder / record.DATA))

    async def _fetch(self, known: RunRecord | None) -> tuple[Path, Manifest]:
        """An alias may have moved since the run began; the run keeps to its base."""
        named = self._order.recipe.reference
        reference = Reference(named.model, known.base) if known else named
        manifest = await Registry(self._registrar.store).resolve(reference)
        check_manifest(self._order.recipe, manifest)
        stager = Stager(self._registrar.store, self._order.cache, self._clock, self._registrar.trusted)
        return await stager.stage(manifest), manifest

    # ---- learning ----

    def _learnt(self, found: _Ingredients) -> RunRecord:
        """The folders merged/ and adapter/ are there afterwards, whole."""
        known = self._record(found)
        folders = [found.folder / "merged", *([found.folder / "adapter"] if found.recipe.adapter else [])]
        if known.held_out_after is not None and all(is_sealed(folder) for folder in folders):
            return known
        return self._learn(found, known)

    def _learn(self, found: _Ingredients, known: RunRecord) -> RunRecord:
        self._watcher.phase("loading the base model")
        from trainer.methods.fit import Fit

        fit = Fit(found.recipe, found.base, found.split, found.folder, self._watcher)
        known = self._note(found, known, counts=fit.counts)
        if lost := record.lost_answers(fit.counts, found.recipe.max_length):
            self._watcher.note(lost)
        if known.held_out_before is None:
            self._watcher.phase("measuring the base on held-out samples")
            known = self._note(found, known, held_out_before=fit.measure()[0])
        self._watcher.phase(f"training from step {fit.resumed_at}" if fit.resumed_at else "training")
        fit.train()
        self._watcher.phase("measuring the result on held-out samples")
        loss, figures = fit.measure()
        known = self._note(found, known, held_out_after=loss, figures=figures)
        self._watcher.phase("saving")
        if found.recipe.adapter:
            fit.save_adapter(found.folder / "adapter", f"{found.manifest.model}@{found.manifest.version}")
        fit.save_merged(found.folder / "merged")
        self._plot(found.folder, known)
        return known

    def _record(self, found: _Ingredients) -> RunRecord:
        known = record.load(found.folder, record.digest(found.recipe, found.data))
        if known is None:
            raise AssertionError("the record was written before learning began")
        return known

    def _note(self, found: _Ingredients, known: RunRecord, **changes: float | Counts | dict[str, float]) -> RunRecord:
        return record.save(found.folder, known.model_copy(update=changes))

    def _plot(self, folder: Path, known: RunRecord) -> None:
        losses = (known.held_out_before or 0.0, known.held_out_after or 0.0)
        loss_curve.plot(loss_curve.read(folder / "metrics.jsonl"), losses, folder / "loss.png")

    # ---- what comes out ----

    def _publish(self, wanted: Publish, found: _Ingredients, outcome: Outcome) -> list[Manifest]:
        self._watcher.phase("finding golden prompts")
        golden = self._golden(found)
        provenance = Provenance(
            source=f"trained from {found.manifest.model}@{found.manifest.version[:12]} by {_means(found.recipe)}",
            parent=found.manifest.version,
            training_job=self._order.job or f"run-{record.digest(found.recipe, found.data)[:12]}",
            training=Training(
                data_sha256=record.data_digest(found.data),
                recipe=record.settings(found.recipe),
                **outcome.counts.model_dump(),
            ),
            evaluation={"held_out_loss": outcome.loss, **outcome.figures},
            golden=golden,
            publisher=self._registrar.publisher,
        )
        return asyncio.run(self._send(wanted, found, provenance))

    async def _send(self, wanted: Publish, found: _Ingredients, provenance: Provenance) -> list[Manifest]:
        sent: list[Manifest] = []
        if wanted.adapter:
            sent.append(await self._send_adapter(wanted, found, provenance))
        if wanted.merged:
            sent.append(await self._send_merged(wanted, found, provenance))
        if wanted.rollout:
            await self._roll_out(wanted, sent[-1])
        return sent

    async def _roll_out(self, wanted: Publish, manifest: Manifest) -> None:
        self._watcher.phase(f"rolling out {wanted.name}")
        own = self._registrar
        announcer = Announcer(own.store, own.routers, own.tls, clock=self._clock, random=self._random)
        await announcer.roll_out(wanted.name, manifest, limit_s=wanted.rollout_limit_s)

    async def _send_merged(self, wanted: Publish, found: _Ingredients, provenance: Provenance) -> Manifest:
        checkpoint = read(found.folder / "merged")
        draft = describe(checkpoint, model=wanted.name, provenance=provenance, created=int(self._clock.wall()))
        sent = await self._send_files(checkpoint, draft)
        to = Reference(draft.model, wanted.alias or CANDIDATE)
        await offer(self._registrar.store, to, sent.version, clock=self._clock, random=self._random)
        return sent

    async def _send_adapter(self, wanted: Publish, found: _Ingredients, provenance: Provenance) -> Manifest:
        paths = tuple(found.folder / "adapter" / name for name in ADAPTER_FILES)
        check_adapter(found.folder / "adapter")
        proof = replace(provenance, golden=self._adapter_golden(found, provenance.golden))
        draft = adapter_manifest(wanted.name + ADAPTER_SUFFIX, paths, found.manifest, proof, self._clock.wall())
        sent = await self._send_files(Folder(found.folder / "adapter"), draft)
        to = Reference(draft.model, wanted.alias or DEFAULT_ALIAS)
        await point(self._registrar.store, to, sent.version, clock=self._clock, random=self._random)
        return sent

    async def _send_files(self, content: Content, draft: Manifest) -> Manifest:
        self._watcher.phase(f"publishing {draft.model}")
        progress = self._watcher.uploading(sum(file.size for file in draft.files))
        sent: Published = await publish(self._registrar.store, content, self._registrar.key.sign(draft), progress)
        return sent.manifest

    def _adapter_golden(self, found: _Ingredients, golden: tuple[Golden, ...]) -> tuple[Golden, ...]:
        from trainer.golden import golden_of_adapter

        return golden_of_adapter(found.base, found.folder / "adapter", golden)

    def _golden(self, found: _Ingredients) -> tuple[Golden, ...]:
        from trainer.golden import COMMON_QUESTIONS, golden_of_folder

        questions = [
            *_questions(found.split.training[:GOLDEN_TRAINED]),
            *_questions(found.split.held_out[:GOLDEN_HELD_OUT]),
            *COMMON_QUESTIONS[:GOLDEN_COMMON],
        ]
        return golden_of_folder(found.folder / "merged", questions, parent=found.base)


def _means(recipe: Recipe) -> str:
    return f"{recipe.method} with LoRA" if recipe.adapter else recipe.method


def _questions(samples: Sequence[Sample]) -> list[list[dict[str, Any]]]:
    """What is asked before the first answer that is learnt. Texts ask nothing."""
    asked = [_asked(sample) for sample in samples if not isinstance(sample, Text)]
    return [documents(messages) for messages in asked]


def _asked(sample: Conversation | PreferencePair) -> Sequence[Message]:
    return sample.messages[: sample.turns[0]] if isinstance(sample, Conversation) else sample.prompt
