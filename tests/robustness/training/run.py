"""`python -m tests.robustness.training.run RECIPE FOLDER PROCESSES`: one run of the drill, in a process of its own."""

import asyncio
import json
import sys
from collections.abc import Callable
from pathlib import Path
from random import Random

from obstore.store import MemoryStore

from services.shared.clock import SystemClock
from services.shared.objectstore import ObjectStore
from tests.integration.trainer import tiny
from trainer.order import Order
from trainer.recipe_file import parse
from trainer.run import Run


class Log:
    """Tells how the run goes, for the log of the drill."""

    def phase(self, name: str) -> None:
        sys.stdout.write(f"{name}\n")

    def note(self, text: str) -> None:
        sys.stdout.write(f"note: {text}\n")

    def step(self, done: int, total: int, loss: float) -> None:
        pass

    def uploading(self, total_bytes: int) -> Callable[[int], None]:
        return lambda _: None


def main() -> None:
    recipe, folder, processes = Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3])
    store = ObjectStore(MemoryStore())
    asyncio.run(tiny.publish_base(store, recipe.parent / "base"))
    order = Order(
        parse(json.loads(recipe.read_text())), folder, folder.with_suffix(".cache"), None, processes=processes
    )
    Run(order, tiny.registrar(store), Log(), clock=SystemClock(), random=Random(1)).make()


if __name__ == "__main__":
    main()
