"""A run in which the base learns: from its data to what is published."""

import asyncio
import os
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from random import Random
from tempfile import TemporaryDirectory
from typing import Any

from services.shared.clock import Clock
from services.shared.manifests import Golden, Manifest, Measured, Speculates, Training
from services.shared.registry import Reference, Registry
from services.shared.staging import Stager
from trainer import processes, record, remote_data, reporters
from trainer.checksums import is_sealed, latest
from trainer.data import reader
from trainer.data.corpus import Corpus
from trainer.data.report import Report
from trainer.data.sample import Sample
from trainer.data.split import Split, split
from trainer.delivery import ADAPTER, MERGED, Delivery, Made, way_of
from trainer.distill_recipe import DistillRecipe
from trainer.distilling import Distilling
from trainer.errors import Unfit
from trainer.examples import Renderer
from trainer.judging import Judging, Origin
from trainer.learner import Learner
from trainer.learning_recipe import LearningRecipe, RewardRecipe
from trainer.methods.preflight import check_machine, check_manifest
from trainer.order import Order, Outcome
from trainer.publish import Provenance
from trainer.questions import questions
from trainer.ranks import launcher, task
from trainer.recipe import Publish
from trainer.record import RunRecord, Skip
from trainer.registrar import Registrar
from trainer.responses import Collected
from trainer.watcher import Watcher

# Of each kind, for golden prompts: what was learnt, what was not, and what any chat model answers.
GOLDEN_TRAINED, GOLDEN_HELD_OUT, GOLDEN_COMMON = 6, 3, 3


@dataclass(frozen=True, slots=True)
class Ingredients:
    """What goes into a run. base, manifest: of what it begins with; a new model has a folder and no manifest."""

    recipe: LearningRecipe
    folder: Path
    data: Path
    report: Report | None
    split: Split | Corpus
    base: Path
    manifest: Manifest | None
    responses: Collected | None = None


class Learning:
    """A run in which the base learns from data."""

    def __init__(
        self,
        order: Order,
        recipe: LearningRecipe,
        registrar: Registrar,
        watcher: Watcher,
        *,
        clock: Clock,
        random: Random,
    ) -> None:
        self._order, self._recipe, self._registrar, self._watcher = order, recipe, registrar, watcher
        self._clock, self._random = clock, random
        self._delivery = Delivery(registrar, watcher, clock=clock, random=random)

    def make(self) -> Outcome:
        """Raises as Run.make does."""
        processes.check(self._recipe, self._order.processes)
        found = self._ingredients()
        judging = self._judging()
        done = self._learnt(found)
        if done.held_out_before is None or done.held_out_after is None or done.counts is None:
            raise AssertionError("a finished run has measured itself")
        outcome = Outcome(done.held_out_before, done.held_out_after, done.counts, found.report, done.figures)
        loss = Measured(value=done.held_out_after, parent=done.held_out_before if found.manifest else None)
        judging.judge(outcome, loss, _origin(found))
        if found.recipe.publish:
            if _is_draft(found.recipe):
                loss = Measured(value=done.held_out_after)  # its target is better, and is no measure for it
            outcome.published.extend(self._publish(found.recipe.publish, found, outcome, loss))
        return outcome

    def _judging(self) -> Judging:
        if self._recipe.evaluate and isinstance(self._recipe, RewardRecipe):
            raise Unfit("evaluate is set, and a reward model answers no questions: leave it out")
        reporters.prepare(self._recipe.report_to, self._order.folder, os.environ)
        return Judging(self._order, self._registrar, self._watcher, self._clock)

    # ---- what goes in ----

    def _ingredients(self) -> Ingredients:
        order = self._order
        self._check_machine()
        if distilling := self._distilling():
            distilling.check()
        data = self._data()
        read = reader.load(data, self._recipe.format)
        for sentence in read.report.sentences():
            self._watcher.note(sentence)
        digest = record.digest(self._recipe, data)
        known = record.load(order.folder, digest)
        self._watcher.phase(f"fetching {self._recipe.base}")
        base, manifest = asyncio.run(self._fetch(known))
        if known is None:
            record.save(order.folder, RunRecord(digest=digest, base=manifest.version))
        samples, responses = self._answered(read.samples, base)
        sides = split(samples, self._recipe.held_out, Random(self._recipe.seed))  # noqa: S311
        return Ingredients(self._recipe, order.folder, data, read.report, sides, base, manifest, responses)

    def _answered(self, samples: Sequence[Sample], base: Path) -> tuple[Sequence[Sample], Collected | None]:
        """The samples; in a distillation, with the answers of the teacher."""
        if (distilling := self._distilling()) is None or not isinstance(self._recipe, DistillRecipe):
            return samples, None
        from trainer.methods.base_model import tokenizer_of

        tokenizer = tokenizer_of(self._recipe, base, for_chats=True)
        return distilling.samples(samples, Renderer(tokenizer, self._recipe.max_length))

    def _distilling(self) -> Distilling | None:
        if not isinstance(self._recipe, DistillRecipe):
            return None
        own = self._order.teacher, self._order.folder, self._watcher
        return Distilling(self._recipe, *own, clock=self._clock, random=self._random)

    def _check_machine(self) -> None:
        """Raises Unfit: This machine cannot do what the recipe wants."""
        if self._recipe.load_in_4bit:
            import torch

            has_bitsandbytes = find_spec("bitsandbytes") is not None
            check_machine(self._recipe, has_gpu=torch.cuda.is_available(), has_bitsandbytes=has_bitsandbytes)

    def _data(self) -> Path:
        """Where the data lies on this machine."""
        named = self._recipe.data
        if isinstance(named, Path):
            return named
        self._watcher.phase(f"fetching {named}")
        return asyncio.run(remote_data.fetch(named, self._order.folder / record.DATA))

    async def _fetch(self, known: RunRecord | None) -> tuple[Path, Manifest]:
        """An alias may have moved since the run began; the run keeps to its base."""
        named = self._recipe.reference
        reference = Reference(named.model, known.base) if known and known.base else named
        manifest = await Registry(self._registrar.store).resolve(reference)
        check_manifest(self._recipe, manifest)
        stager = Stager(self._registrar.store, self._order.cache, self._clock, self._registrar.trusted)
        return await stager.stage(manifest), manifest

    # ---- learning ----

    def _learnt(self, found: Ingredients) -> RunRecord:
        """The folders merged/ and adapter/ are there afterwards, whole."""
        known = self._record(found)
        folders = [found.folder / MERGED, *([found.folder / ADAPTER] if found.recipe.adapter else [])]
        if known.held_out_after is not None and all(is_sealed(folder) for folder in folders):
            return known
        return self._learn(found, known)

    def _learn(self, found: Ingredients, known: RunRecord) -> RunRecord:
        count, name = self._order.processes, _pinned(found) if found.manifest else ""
        if count == 1:
            own = found.recipe, found.base, found.split, found.folder, name
            return Learner(*own, self._watcher, processes.ALONE).learn(known)
        latest(found.folder / record.CHECKPOINTS)  # removes what was never finished, before several processes look
        with TemporaryDirectory(prefix="tidegate-task-") as scratch:
            file = task.write(Path(scratch), found.recipe, found.split, found.base, found.folder, name, known)
            self._watcher.phase(f"starting {count} processes")
            launcher.learn(file, count, self._watcher)
        return self._record(found)

    def _record(self, found: Ingredients) -> RunRecord:
        known = record.load(found.folder, record.digest(found.recipe, found.data))
        if known is None:
            raise AssertionError("the record was written before learning began")
        return known

    # ---- what comes out ----

    def _publish(self, wanted: Publish, found: Ingredients, outcome: Outcome, loss: Measured) -> list[Manifest]:
        self._watcher.phase("finding golden prompts")
        golden = self._golden(found)
        provenance = Provenance(
            source=_source(found),
            parent=found.manifest.version if found.manifest else None,
            training_job=self._order.job or f"run-{record.digest(found.recipe, found.data)[:12]}",
            training=Training(
                data_sha256=record.data_digest(found.data),
                recipe=_settings(found, self._record(found).skipped),
                **outcome.counts.model_dump(),
            ),
            evaluation={"held_out_loss": loss, **outcome.figures, **outcome.evaluation},
            golden=golden,
            publisher=self._registrar.publisher,
        )
        made = Made(found.folder, found.base, found.manifest, _speculates(found))
        return asyncio.run(
            self._delivery.send(wanted, made, provenance, way_of(self._order, in_steps=outcome.in_steps))
        )

    def _golden(self, found: Ingredients) -> tuple[Golden, ...]:
        if isinstance(found.recipe, RewardRecipe) or _is_draft(found.recipe):
            return ()  # a reward model answers nothing, and a speculator is proved by the answers of its target
        from trainer.golden import COMMON_QUESTIONS, golden_of_folder

        asked = [*self._asked(found), *COMMON_QUESTIONS[:GOLDEN_COMMON]]
        return golden_of_folder(found.folder / MERGED, asked, parent=found.base if found.manifest else None)

    def _asked(self, found: Ingredients) -> list[list[dict[str, Any]]]:
        """What of the data makes golden prompts."""
        if not isinstance(found.split, Split):
            raise AssertionError("this run learns samples")
        held_out = questions(found.split.held_out[:GOLDEN_HELD_OUT])
        return [*questions(found.split.training[:GOLDEN_TRAINED]), *held_out]


def _short(found: Ingredients) -> str:
    """What the run began with, for people."""
    if found.manifest is None:
        return "a new model"
    return f"{found.manifest.model}@{found.manifest.version[:12]}"


def _pinned(found: Ingredients) -> str:
    if found.manifest is None:
        raise AssertionError("a new model cannot be named")
    return f"{found.manifest.model}@{found.manifest.version}"


def _is_draft(recipe: LearningRecipe) -> bool:
    return isinstance(recipe, DistillRecipe) and recipe.student is not None


def _speculates(found: Ingredients) -> Speculates | None:
    """What a draft model drafts for; None for any other result."""
    recipe, target = found.recipe, found.manifest
    if target is None or not isinstance(recipe, DistillRecipe) or recipe.student is None:
        return None
    return Speculates(
        target=_pinned(found),
        vocab_size=target.vocab_size,
        tokenizer_sha256=target.tokenizer_sha256,
        method="draft_model",
        tokens=recipe.student.tokens,
    )


def _start(found: Ingredients) -> str:
    """What the loss before the first step is of, for people."""
    return "(a draft model with random weights)" if _is_draft(found.recipe) else _short(found)


def _origin(found: Ingredients) -> Origin:
    """A draft model is compared with nothing: its target is better, and is no measure for it."""
    compared = None if _is_draft(found.recipe) else found.manifest
    return Origin(_source(found), found.manifest, compared, _start(found))


def _source(found: Ingredients) -> str:
    recipe = found.recipe
    if isinstance(recipe, DistillRecipe) and recipe.student:
        return f"draft model for {_short(found)}, distilled from answers of {recipe.teacher.model}"
    if isinstance(recipe, RewardRecipe):
        return f"reward model trained from {_short(found)}" + (" with LoRA" if recipe.adapter else "")
    means = f"{recipe.method} with LoRA" if recipe.adapter else recipe.method
    return f"trained from {_short(found)} by {means}"


def _settings(found: Ingredients, skipped: Sequence[Skip]) -> dict[str, Any]:
    """The recipe, with the batches that were skipped.

    That of a distillation has the version that its base meant, and what the teacher answered.
    """
    settings = record.settings(found.recipe)
    if skipped:
        settings["spikes"]["skipped"] = [skip.model_dump(include={"step", "reason"}) for skip in skipped]
    if found.responses:
        settings["base"] = _pinned(found)
        settings["teacher"] |= {"responses": found.responses.count, "responses_sha256": found.responses.sha256}
    return settings
