"""The processes that learn together, and what of a recipe each of them does. Pure."""

from dataclasses import dataclass

from trainer.errors import Unfit
from trainer.learning_recipe import KtoRecipe, LearningRecipe


@dataclass(frozen=True, slots=True)
class Processes:
    """One process of those that learn together. rank: its number, from 0; count: how many there are."""

    rank: int = 0
    count: int = 1

    @property
    def writes(self) -> bool:
        """Whether this process writes the files that there is one of."""
        return self.rank == 0


ALONE = Processes()
"""The one process of most runs."""


def check(recipe: LearningRecipe, count: int) -> None:
    """Checks that a recipe can be learnt by so many processes.

    Args:
        recipe: The run's.
        count: Of processes, at least 1.

    Raises:
        Unfit: The batch does not divide, or the recipe says how several processes work together, and there is one.
    """
    if count == 1 and recipe.parallel:
        raise Unfit(
            f"parallel.strategy = {recipe.parallel.strategy}: it is for several processes, and this run has one. Call"
            " with --processes 2 or more, or leave parallel out"
        )
    if count > 1 and isinstance(recipe, KtoRecipe):
        raise Unfit(
            f"method: kto, and {count} processes: TRL compares each answer with others of its batch, which would not be"
            " those of one process. Call with one process"
        )
    if recipe.batch % count:
        raise Unfit(
            f"batch = {recipe.batch}: {count} processes cannot share it evenly. A batch is divided among the processes,"
            f" so that it stays what the recipe says: set a multiple of {count}, or another number of processes"
        )


def check_devices(count: int, gpus: int) -> None:
    """Checks that each process of this machine has a GPU of its own, where there are any.

    Args:
        count: Of processes on this machine.
        gpus: That it has.

    Raises:
        Unfit: There are GPUs, and fewer than processes.
    """
    if gpus and count > gpus:
        raise Unfit(f"--processes {count}: each process takes a GPU of its own, and this machine shows {gpus}")
