"""`python -m tests.robustness.pretraining.run RECIPE FOLDER`: one run, in a process that may be killed."""

import sys
from collections.abc import Callable
from pathlib import Path
from random import Random

from obstore.store import MemoryStore

from services.shared.clock import SystemClock
from services.shared.objectstore import ObjectStore
from tests.robustness.command import print_line
from tests.support.signing import KEY, TRUSTED
from trainer.order import Order, Outcome
from trainer.recipe_file import load
from trainer.registrar import Registrar
from trainer.run import Run


class Told:
    """Prints what a run tells."""

    def phase(self, name: str) -> None:
        print_line(name)

    def note(self, text: str) -> None:
        print_line(text)

    def step(self, done: int, total: int, loss: float) -> None:
        pass

    def uploading(self, total_bytes: int) -> Callable[[int], None]:
        return lambda _: None


def make(recipe: Path, folder: Path, store: ObjectStore) -> Outcome:
    """Makes the run, or goes on with it."""
    order = Order(load(recipe), folder, folder.parent / "cache")
    registrar = Registrar(store, KEY, TRUSTED)
    return Run(order, registrar, Told(), clock=SystemClock(), random=Random(1)).make()


if __name__ == "__main__":
    made = make(Path(sys.argv[1]), Path(sys.argv[2]), ObjectStore(MemoryStore()))
    print_line(f"held-out loss {made.held_out_before} -> {made.held_out_after}, {made.figures}")
