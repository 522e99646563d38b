"""The part of a simulated model on another node: there is nothing to run."""

from services.worker.engine.contract import Model
from services.worker.engine.node import Node


class SimulatedPart:
    """Runs nothing: the simulated engine needs no help of its followers."""

    def __init__(self) -> None:
        self.death: str | None = None

    async def start(self, model: Model, node: Node) -> None:
        """Returns at once."""

    async def stop(self) -> None:
        """Ends the part."""
        self.death = self.death or "the part was stopped"
