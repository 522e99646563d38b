"""From the sources to the documents that are left: filters, duplicates, addresses of persons."""

from dataclasses import dataclass
from pathlib import Path

from datatrove.pipeline.base import PipelineStep
from datatrove.pipeline.writers.disk_base import DiskWriter

from trainer.preparing import decontamination
from trainer.preparing.dedup import Exact, Near
from trainer.preparing.documents import Kept, SourceReader, writer
from trainer.preparing.executors import Stages
from trainer.preparing.filters import EXACT, NEAR, filters
from trainer.preparing.pii import Scrub
from trainer.preparing.plan import Plan
from trainer.preparing.recipe import PrepareRecipe
from trainer.preparing.words import Words


@dataclass(frozen=True, slots=True)
class Cleaning:
    """The stages, and where they leave what they make: `work` holds a folder for each."""

    recipe: PrepareRecipe
    plan: Plan
    work: Path
    stages: Stages

    @property
    def dropped(self) -> Path:
        """A folder for each step, with a file for each task."""
        return self.work / "dropped"

    @property
    def clean(self) -> Path:
        """A file for each task."""
        return self.work / "clean"

    def run(self) -> dict[str, int] | None:
        """Runs what is not finished.

        Returns:
            Counts of the decontamination's index, or None.

        Raises:
            WrongData: A source or an evaluation set cannot be read.
        """
        words, index = Words(self.recipe.words), self.work / "decontamination"
        settings = self.recipe.decontaminate
        counts = decontamination.build_index(settings, index, words) if settings else None
        steps = list(filters(self.recipe, words, index, self.dropped))
        self._run("filter", SourceReader(self.plan.tasks), *steps, writer(self._filtered))
        if self.recipe.exact_dedup:
            self._find_exact()
        if self.recipe.minhash_dedup:
            self._find_near()
        scrub = [Scrub(self.recipe.pii)] if self.recipe.pii else []
        self._run("clean", *self._left(drops=True), *scrub, writer(self.clean))
        return counts

    @property
    def _filtered(self) -> Path:
        return self.work / "filtered"

    @property
    def _exact(self) -> Exact:
        return Exact(self.work / EXACT)

    def _near(self) -> Near | None:
        settings = self.recipe.minhash_dedup
        return Near(self.work / NEAR, settings, self.recipe.seed, Words(self.recipe.words)) if settings else None

    def _find_exact(self) -> None:
        self._run("exact_signatures", Kept(self._filtered), self._exact.signatures())
        self._run("exact_duplicates", self._exact.find(), tasks=1)

    def _find_near(self) -> None:
        if near := self._near():
            self._run("near_signatures", *self._left(drops=False, near=False), near.signatures())
            self._run("near_pairs", near.buckets(), tasks=near.settings.num_buckets)
            self._run("near_duplicates", near.clusters(), tasks=1)

    def _left(self, *, drops: bool, near: bool = True) -> list[PipelineStep]:
        """What reads the documents without duplicates. `drops`: it writes down what it leaves out."""
        steps: list[PipelineStep] = [Kept(self._filtered)]
        if self.recipe.exact_dedup:
            steps.append(self._exact.filter(self._excluded(EXACT) if drops else None))
        if near and (found := self._near()):
            steps.append(found.filter(self._excluded(NEAR)))
        return steps

    def _excluded(self, step: str) -> DiskWriter:
        return writer(self.dropped / step)

    def _run(self, name: str, *steps: PipelineStep, tasks: int | None = None) -> None:
        self.stages.run(name, steps, tasks or len(self.plan.tasks))
