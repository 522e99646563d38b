"""A run in which models are merged: from versions in the registry to one that is published."""

import asyncio
import json
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import TYPE_CHECKING, Any

from services.shared.clock import Clock
from services.shared.manifests import Manifest, Measured, Training
from services.shared.registry import Reference, Registry
from services.shared.staging import Stager
from trainer import gate, record, remote_data
from trainer.checkpoint import read
from trainer.checksums import is_sealed, seal
from trainer.data import reader
from trainer.data.report import Report
from trainer.data.sample import Sample
from trainer.data.wrong import WrongData
from trainer.delivery import MERGED, Delivery, Made
from trainer.examples import Examples, Renderer
from trainer.methods.preflight import check_length
from trainer.methods.relatives import check_config, check_shapes, check_tokens, check_version
from trainer.order import Order, Outcome
from trainer.publish import Provenance
from trainer.questions import questions
from trainer.recipe import MergeRecipe, Publish
from trainer.record import Counts, RunRecord
from trainer.registrar import Registrar
from trainer.selection import CONFIG
from trainer.watcher import Watcher

if TYPE_CHECKING:
    from trainer.methods.tensors import Tensors

GOLDEN_HELD_OUT = 3
"""Golden prompts from the data, beside those that any chat model answers."""
_NO_DATA = (
    "the recipe has no data, so the gate has nothing to judge: the result is published whatever it answers. Set data to"
    " compare its loss with that of the base"
)


@dataclass(frozen=True, slots=True)
class _Part:
    """A model that goes in. name: as the recipe has it."""

    name: str
    manifest: Manifest
    folder: Path

    @property
    def pinned(self) -> str:
        return f"{self.manifest.model}@{self.manifest.version}"


@dataclass(frozen=True, slots=True)
class _Measures:
    """What the result is measured with; nothing where the recipe has no data."""

    data: Path | None = None
    samples: tuple[Sample, ...] = ()
    report: Report | None = None


class Merging:
    """A run in which the weights of several models become one model."""

    def __init__(
        self, order: Order, recipe: MergeRecipe, registrar: Registrar, watcher: Watcher, *, clock: Clock, random: Random
    ) -> None:
        self._order, self._recipe, self._registrar, self._watcher = order, recipe, registrar, watcher
        self._clock = clock
        self._delivery = Delivery(registrar, watcher, clock=clock, random=random)

    def make(self) -> Outcome:
        """Raises as Run.make does."""
        measures = self._measures()
        digest = record.digest(self._recipe, measures.data)
        known = record.load(self._order.folder, digest)
        base, *models = asyncio.run(self._fetch(known))
        if known is None:
            versions = tuple(part.manifest.version for part in models)
            known = RunRecord(digest=digest, base=base.manifest.version, models=versions)
            record.save(self._order.folder, known)
        if not is_sealed(self._order.folder / MERGED):
            self._merge(base, models)
        done = self._measured(known, base, measures)
        counts = done.counts or Counts(learnt=0, held_out=0, cut=0, dropped=0)
        outcome = Outcome(done.held_out_before, done.held_out_after, counts, measures.report, {})
        if wanted := self._recipe.publish:
            if outcome.loss is None:
                self._watcher.note(_NO_DATA)
            else:
                gate.check(self._recipe.gate, outcome.loss, f"{base.manifest.model}@{base.manifest.version[:12]}")
            outcome.published.extend(self._publish(wanted, base, models, measures, outcome))
        return outcome

    # ---- what goes in ----

    def _measures(self) -> _Measures:
        named = self._recipe.data
        if named is None:
            return _Measures()
        if not isinstance(named, Path):
            self._watcher.phase(f"fetching {named}")
            named = asyncio.run(remote_data.fetch(named, self._order.folder / record.DATA))
        found = reader.load(named, self._recipe.format)
        for sentence in found.report.sentences():
            self._watcher.note(sentence)
        return _Measures(named, tuple(found.samples), found.report)

    async def _fetch(self, known: RunRecord | None) -> list[_Part]:
        """The base and the models. All versions are checked before the first is fetched.

        An alias may have moved since the run began; the run keeps to its versions.
        """
        names = [self._recipe.base, *(part.model for part in self._recipe.models)]
        versions = (known.base, *known.models) if known else ()
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
            parts.append(_Part(name, manifest, await stager.stage(manifest)))
        return parts

    # ---- merging ----

    def _merge(self, base: _Part, models: Sequence[_Part]) -> None:
        """The folder merged/ is there afterwards, whole, with the base's files beside the weights."""
        self._watcher.phase("comparing the models")
        from trainer.methods.merge import merged
        from trainer.methods.tensors import Tensors, write_like

        start = Tensors(read(base.folder))
        others = [Tensors(read(part.folder)) for part in models]
        _check(base, start, base, start)
        for part, tensors in zip(models, others, strict=True):
            _check(part, tensors, base, start)
        self._watcher.phase(f"merging {len(models)} models by {self._recipe.merge_method}")
        target = self._order.folder / MERGED
        shutil.rmtree(target, ignore_errors=True)
        for name in (*start.checkpoint.selection.other, *start.checkpoint.selection.tokenizer):
            (target / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(base.folder / name, target / name)
        write_like(
            start,
            target,
            lambda name: merged(
                self._recipe, name, start.read(name).float(), [other.read(name).float() for other in others]
            ),
        )
        seal(target)

    def _measured(self, known: RunRecord, base: _Part, measures: _Measures) -> RunRecord:
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

    def _examples(self, base: _Part, measures: _Measures) -> Examples:
        from trainer.methods.base_model import tokenizer_of

        for_chats = bool(questions(measures.samples))
        tokenizer = tokenizer_of(self._recipe, base.folder, for_chats=for_chats)
        examples = Renderer(tokenizer, self._recipe.max_length).examples(measures.samples)
        if not examples.kept:
            raise WrongData(f"max_length = {self._recipe.max_length} cuts off the answers of all examples held out")
        return examples

    # ---- what comes out ----

    def _publish(
        self, wanted: Publish, base: _Part, models: Sequence[_Part], measures: _Measures, outcome: Outcome
    ) -> list[Manifest]:
        self._watcher.phase("finding golden prompts")
        from trainer.golden import COMMON_QUESTIONS, golden_of_folder

        folder = self._order.folder
        asked = [*questions(measures.samples[:GOLDEN_HELD_OUT]), *COMMON_QUESTIONS]
        golden = golden_of_folder(folder / MERGED, asked, parent=base.folder)
        names = ", ".join(f"{part.manifest.model}@{part.manifest.version[:12]}" for part in models)
        evaluation: dict[str, float | Measured] = {"held_out_loss": outcome.loss} if outcome.loss else {}
        provenance = Provenance(
            source=f"merged from {names} by {self._recipe.merge_method}, base"
            f" {base.manifest.model}@{base.manifest.version[:12]}",
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
        return asyncio.run(self._delivery.send(wanted, Made(folder, base.folder, base.manifest), provenance))

    def _settings(self, base: _Part, models: Sequence[_Part]) -> dict[str, Any]:
        """The recipe with the versions that its references meant: all parents of the result."""
        settings = record.settings(self._recipe)
        merged = [{**part, "model": found.pinned} for part, found in zip(settings["models"], models, strict=True)]
        return {**settings, "base": base.pinned, "models": merged}


def _pinned(names: Sequence[str], versions: Sequence[str]) -> list[Reference]:
    references = [Reference.parse(name) for name in names]
    if not versions:
        return references
    return [Reference(named.model, version) for named, version in zip(references, versions, strict=True)]


def _check(part: _Part, tensors: "Tensors", base: _Part, start: "Tensors") -> None:
    """Raises Unfit for a model that cannot be merged with the base."""
    config, wanted = (json.loads((found.folder / CONFIG).read_bytes()) for found in (part, base))
    check_config(part.name, config, wanted)
    check_shapes(part.name, tensors.shapes, start.shapes)
    if part.manifest.tokenizer_sha256 != base.manifest.tokenizer_sha256:
        from transformers import AutoTokenizer

        own, its = (AutoTokenizer.from_pretrained(found.folder, local_files_only=True) for found in (part, base))
        check_tokens(part.name, own.get_vocab(), its.get_vocab())
