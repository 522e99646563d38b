"""A run from recipe to registry. Started again with the same recipe and folder, it goes on where it was."""

from random import Random

from services.shared.clock import Clock
from services.shared.folder_lock import FolderLock
from trainer.learning import Learning
from trainer.learning_recipe import LearningRecipe
from trainer.making import Maker, Making
from trainer.making_recipe import MergeRecipe, QuantizeRecipe
from trainer.merging import Merging
from trainer.order import Order, Outcome
from trainer.pretrain_recipe import PretrainRecipe
from trainer.pretraining import Pretraining
from trainer.quantizing import Quantizing
from trainer.quiet import quiet, share_cores
from trainer.registrar import Registrar
from trainer.watcher import Watcher


class InUse(Exception):
    """Another process is making a run in that folder."""


class Run:
    """One run from its recipe to the registry."""

    def __init__(self, order: Order, registrar: Registrar, watcher: Watcher, *, clock: Clock, random: Random) -> None:
        self._order, self._registrar, self._watcher = order, registrar, watcher
        self._clock, self._random = clock, random

    def make(self) -> Outcome:
        """Blocks for as long as it takes.

        Raises WrongData, AnotherRun, BrokenSeal, Diverged, Unfit, Worse, UnknownVersion, RefusedModel, WrongManifest,
        WrongCheckpoint, RankDied, NoRoom, InUse, StoreError, NotAnnounced, RolloutFailed, TeacherAway, TeacherRefused,
        ChangedResponses, GptqFailed.
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
        order, recipe = self._order, self._order.recipe
        if maker := _maker(order):
            own = self._registrar, self._watcher
            return Making(order, recipe, maker, *own, clock=self._clock, random=self._random).make()
        if isinstance(recipe, PretrainRecipe):
            own = self._registrar, self._watcher
            return Pretraining(order, recipe, *own, clock=self._clock, random=self._random).make()
        if isinstance(recipe, LearningRecipe):
            learning = Learning(order, recipe, self._registrar, self._watcher, clock=self._clock, random=self._random)
            return learning.make()
        raise AssertionError(f"a recipe of {recipe.method} neither learns nor makes a model of others")


def _maker(order: Order) -> Maker | None:
    """What makes a model without learning, if the recipe's method does so."""
    recipe = order.recipe
    if isinstance(recipe, MergeRecipe):
        return Merging(recipe)
    return Quantizing(recipe, order.llm_compressor) if isinstance(recipe, QuantizeRecipe) else None
