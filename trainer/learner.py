"""What the processes of a run do: they measure, learn, measure again and save."""

from pathlib import Path
from typing import TYPE_CHECKING

from trainer import loss_curve, record
from trainer.data.corpus import Corpus
from trainer.data.split import Split
from trainer.delivery import ADAPTER, MERGED
from trainer.learning_recipe import LearningRecipe
from trainer.processes import Processes
from trainer.record import Counts, RunRecord, Skip
from trainer.room import room_in
from trainer.watcher import Watcher

if TYPE_CHECKING:
    from trainer.methods.fit import Fit


class Learner:
    """One process of a run, alone or among others that do the same at the same time."""

    def __init__(
        self,
        recipe: LearningRecipe,
        base: Path,
        split: Split | Corpus,
        folder: Path,
        name: str,
        watcher: Watcher,
        processes: Processes,
    ) -> None:
        """`base`, `folder`: of the base and of the run on this machine. `name`: of the base, model@version."""
        self._recipe, self._base, self._split, self._folder = recipe, base, split, folder
        self._name, self._watcher, self._processes = name, watcher, processes

    def learn(self, known: RunRecord) -> RunRecord:
        """The folders merged/ and adapter/ are there afterwards, whole.

        Args:
            known: How far the run has come; the same for all processes.

        Raises:
            BrokenSeal, Unfit, WrongData, Diverged: As Fit.
            NoRoom: The disk is full.
        """
        with room_in(self._folder):
            return self._learn(known)

    def _learn(self, known: RunRecord) -> RunRecord:
        self._watcher.phase("loading the base model")
        fit = self._fit(known)
        known = self._note(known, counts=fit.counts)
        if lost := record.lost_answers(fit.counts, self._recipe.max_length):
            self._watcher.note(lost)
        if known.held_out_before is None:
            self._watcher.phase("measuring the base on held-out samples")
            known = self._note(known, held_out_before=fit.measure()[0])
            if self._processes.count > 1:
                # accelerate takes a model that it has prepared for measuring as prepared for learning too. Then
                # gradients would stay in each process.
                del fit
                fit = self._fit(known)
        while True:
            self._watcher.phase(f"training from step {fit.resumed_at}" if fit.resumed_at else "training")
            skip = fit.train()
            if skip is None:
                break
            known = self._note(known, skipped=(*known.skipped, skip))
            self._watcher.note(_told(skip, len(known.skipped), self._recipe))
            del fit
            fit = self._fit(known)
        self._watcher.phase("measuring the result on held-out samples")
        loss, figures = fit.measure()
        known = self._note(known, held_out_after=loss, figures=figures)
        self._watcher.phase("saving")
        if self._recipe.adapter:
            fit.save_adapter(self._folder / ADAPTER, self._name)
        fit.save_merged(self._folder / MERGED, self._folder / ADAPTER)
        self._plot(known)
        return known

    def _fit(self, known: RunRecord) -> "Fit":
        from trainer.methods.fit import Fit

        own = self._recipe, self._base, self._split, self._folder
        return Fit(*own, self._watcher, self._processes, skipped=tuple(skip.place for skip in known.skipped))

    def _note(self, known: RunRecord, **changes: float | Counts | dict[str, float] | tuple[Skip, ...]) -> RunRecord:
        changed = known.model_copy(update=changes)
        return record.save(self._folder, changed) if self._processes.writes else changed

    def _plot(self, known: RunRecord) -> None:
        if self._processes.writes:
            losses = (known.held_out_before or 0.0, known.held_out_after or 0.0)
            loss_curve.plot(loss_curve.read(self._folder / "metrics.jsonl"), losses, self._folder / "loss.png")


def _told(skip: Skip, number: int, recipe: LearningRecipe) -> str:
    return (
        f"step {skip.step} is a spike: {skip.reason}. The run goes back to its last checkpoint, and skips that batch"
        f" ({number} of at most {recipe.spikes.skips})"
    )
