"""What a follower runs: the part of a model that is on its node. The engine of rank 0 drives it."""

from typing import Protocol

from services.worker.engine.contract import Model
from services.worker.engine.node import Node


class Part(Protocol):
    """The part of a model on one node. Call all methods from one event loop."""

    async def start(self, model: Model, node: Node) -> None:
        """Loads the part. It returns once the engine of rank 0 can use it, which starts at the same time.

        Raises:
            EngineDead: The part could not start.
        """
        ...

    @property
    def death(self) -> str | None:
        """Why the part is gone for good, or None."""
        ...

    async def stop(self) -> None:
        """Frees everything. It may be called twice, before `start` and during it."""
        ...
