"""A run that makes a model of others without learning: from versions in the registry to one that is published."""

import asyncio
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Any, Protocol

from services.shared.clock import Clock
from services.shared.manifests import Manifest, Measured, Training
from services.shared.registry import Reference, Registry
from services.shared.staging import Stager
from trainer import record, remote_data
from trainer.checksums import is_sealed, seal
from trainer.data import reader
from trainer.data.report import Report
from trainer.data.sample import Sample
from trainer.data.wrong import WrongData
from trainer.delivery import MERGED, Delivery, Made, way_of
from trainer.examples import Examples, Renderer
from trainer.judging import Judging, Origin
from trainer.methods.preflight import check_length
from trainer.methods.relatives import check_version
from trainer.order import Order, Outcome
from trainer.publish import Provenance
from trainer.questions import questions
from trainer.recipe import Publish, Recipe
from trainer.record import Counts, RunRecord
from trainer.registrar import Registrar
from trainer.watcher import Watcher

GOLDEN_HELD_OUT = 3
"""Golden prompts from the data, beside those that any chat model answers."""
_NO_DATA = (
    "the recipe has no data, so the gate has nothing to judge: the result is published whatever it answers. Set data to"
    " compare its loss with that of the base"
)


@dataclass(frozen=True, slots=True)
class Part:
    """A model that goes in. name: as the recipe has it."""

    name: str
    manifest: Manifest
    folder: Path

    @property
    def short(self) -> str:
        """The version for people."""
        return f"{self.manifest.model}@{self.manifest.version[:12]}"

    @property
    def pinned(self) -> str:
        """The version as a reference."""
        return f"{self.manifest.model}@{self.manifest.version}"


class Maker(Protocol):
    """What a method does, in the run of it."""

    @property
    def others(self) -> tuple[str, ...]:
        """References of what goes in beside the base."""
        ...

    @property
    def phase(self) -> str:
        """What it does, for people."""
        ...

    @property
    def advice(self) -> str:
        """What people may change when the gate refuses the result: one sentence."""
        ...

    def take(self, samples: Sequence[Sample]) -> Sequence[Sample]:
        """Takes what it needs of the data, before anything is fetched.

        Returns:
            What is left to measure with.

        Raises:
            WrongData: There is too little of it.
            Unfit: This machine lacks what the method needs.
        """
        ...

    def source(self, base: Part, models: Sequence[Part]) -> str:
        """Where the result comes from, for people."""
        ...

    def make(self, base: Part, models: Sequence[Part], target: Path) -> None:
        """Writes a whole model into `target`, a folder that is not there yet. Raises Unfit, WrongCheckpoint."""
        ...


@dataclass(frozen=True, slots=True)
class _Measures:
    """What the result is measured with; nothing where the recipe has no data."""

    data: Path | None = None
    samples: tuple[Sample, ...] = ()
    report: Report | None = None


class Making:
    """A run that makes a model of others without learning."""

    def __init__(
        self,
        order: Order,
        recipe: Recipe,
        maker: Maker,
        registrar: Registrar,
        watcher: Watcher,
        *,
        clock: Clock,
        random: Random,
    ) -> None:
        self._order, self._recipe, self._maker = order, recipe, maker
        self._registrar, self._watcher = registrar, watcher
        self._clock = clock
        self._delivery = Delivery(registrar, watcher, clock=clock, random=random)

    def make(self) -> Outcome:
        """Raises as Run.make does."""
        measures = self._measures()
        digest = record.digest(self._recipe, measures.data)
        known = record.load(self._order.folder, digest)
        base, *models = asyncio.run(self._fetch(known))
        judging = Judging(self._order, self._registrar, self._watcher, self._clock)
        if known is None:
            versions = tuple(part.manifest.version for part in models)
            known = RunRecord(digest=digest, base=base.manifest.version, models=versions)
            record.save(self._order.folder, known)
        if not is_sealed(self._order.folder / MERGED):
            self._make(base, models)
        done = self._measured(known, base, measures)
        counts = done.counts or Counts(learnt=0, held_out=0, cut=0, dropped=0)
        outcome = Outcome(done.held_out_before, done.held_out_after, counts, measures.report, {})
        wanted = self._recipe.publish
        if wanted and outcome.loss is None:
            self._watcher.note(_NO_DATA)
        origin = Origin(self._maker.source(base, models), base.manifest, base.manifest, base.short, self._maker.advice)
        judging.judge(outcome, outcome.loss, origin)
        if wanted:
            outcome.published.extend(self._publish(wanted, base, models, measures, outcome))
        return outcome

    # ---- what goes in ----

    def _measures(self) -> _Measures:
        named = self._recipe.data
        if named is None:
            self._maker.take(())
            return _Measures()
        if not isinstance(named, Path):
            self._watcher.phase(f"fetching {named}")
            named = asyncio.run(remote_data.fetch(named, self._order.folder / record.DATA))
        found = reader.load(named, self._recipe.format)
        for sentence in found.report.sentences():
            self._watcher.note(sentence)
        return _Measures(named, tuple(self._maker.take(found.samples)), found.report)

    async def _fetch(self, known: RunRecord | None) -> list[Part]:
        """The base and the models. All versions are checked before the first is fetched.

        An alias may have moved since the run began; the run keeps to its versions.
        """
        names = [str(self._recipe.base), *self._maker.others]
        versions = (known.base, *known.models) if known and known.base else ()
        registry = Registry(self._registrar.store)
        manifests = [await registry.resolve(reference) for reference in _pinned(names, versions)]
        for name, manifest in zip(names, manifests, strict=True):
            check_version(name, manifest, manifests[0])
        if self._recipe.data is not None:
            check_length(self._recipe, manifests[0])
        stager = Stager(self._registrar.store, self._order.cache, self._clock, self._registrar.trusted)
        parts = []
        for name, manifest in zip(names, manifests, strict=True):
            self._watcher.phase(f"fetching {name}")
            parts.append(Part(name, manifest, await stager.stage(manifest)))
        return parts

    # ---- making ----

    def _make(self, base: Part, models: Sequence[Part]) -> None:
        """The folder merged/ is there afterwards, whole."""
        target = self._order.folder / MERGED
        shutil.rmtree(target, ignore_errors=True)
        self._watcher.phase(self._maker.phase)
        self._maker.make(base, models, target)
        seal(target)

    def _measured(self, known: RunRecord, base: Part, measures: _Measures) -> RunRecord:
        if measures.data is None or known.held_out_after is not None:
            return known
        from trainer.methods.judge import held_out_loss

        examples = self._examples(base, measures)
        self._watcher.phase("measuring the base on held-out samples")
        before = held_out_loss(base.folder, examples.kept)
        self._watcher.phase("measuring the result on held-out samples")
        after = held_out_loss(self._order.folder / MERGED, examples.kept)
        counts = Counts(learnt=0, held_out=len(examples.kept), cut=examples.cut, dropped=examples.dropped)
        if lost := record.lost_answers(counts, self._recipe.max_length):
            self._watcher.note(lost)
        changes: dict[str, Any] = {"counts": counts, "held_out_before": before, "held_out_after": after}
        return record.save(self._order.folder, known.model_copy(update=changes))

    def _examples(self, base: Part, measures: _Measures) -> Examples:
        from trainer.methods.base_model import tokenizer_of

        for_chats = bool(questions(measures.samples))
        tokenizer = tokenizer_of(self._recipe, base.folder, for_chats=for_chats)
        examples = Renderer(tokenizer, self._recipe.max_length).examples(measures.samples)
        if not examples.kept:
            raise WrongData(f"max_length = {self._recipe.max_length} cuts off the answers of all examples held out")
        return examples

    # ---- what comes out ----

    def _publish(
        self, wanted: Publish, base: Part, models: Sequence[Part], measures: _Measures, outcome: Outcome
    ) -> list[Manifest]:
        self._watcher.phase("finding golden prompts")
        from trainer.golden import COMMON_QUESTIONS, golden_of_folder

        folder = self._order.folder
        asked = [*questions(measures.samples[:GOLDEN_HELD_OUT]), *COMMON_QUESTIONS]
        golden = golden_of_folder(folder / MERGED, asked, parent=base.folder)
        evaluation: dict[str, float | Measured] = {**outcome.evaluation}
        if outcome.loss:
            evaluation["held_out_loss"] = outcome.loss
        provenance = Provenance(
            source=self._maker.source(base, models),
            parent=base.manifest.version,
            training_job=self._order.job or f"run-{record.digest(self._recipe, measures.data)[:12]}",
            training=Training(
                data_sha256=record.data_digest(measures.data),
                recipe=self._settings(base, models),
                **outcome.counts.model_dump(),
            ),
            evaluation=evaluation,
            golden=golden,
            publisher=self._registrar.publisher,
        )
        made = Made(folder, base.folder, base.manifest)
        return asyncio.run(
            self._delivery.send(wanted, made, provenance, way_of(self._order, in_steps=outcome.in_steps))
        )

    def _settings(self, base: Part, models: Sequence[Part]) -> dict[str, Any]:
        """The recipe with the versions that its references meant: all parents of the result."""
        settings = record.settings(self._recipe)
        settings["base"] = base.pinned
        if models:
            named = zip(settings["models"], models, strict=True)
            settings["models"] = [{**entry, "model": part.pinned} for entry, part in named]
        return settings


def _pinned(names: Sequence[str], versions: Sequence[str]) -> list[Reference]:
    references = [Reference.parse(name) for name in names]
    if not versions:
        return references
    return [Reference(named.model, version) for named, version in zip(references, versions, strict=True)]
