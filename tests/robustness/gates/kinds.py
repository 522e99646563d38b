"""Versions that a gate meets, made for the simulated engine."""

import json
from dataclasses import dataclass, field
from pathlib import Path

from trainer.sources.simulated import SimulatedModel


@dataclass(frozen=True, slots=True)
class Kind:
    """A kind of version.

    Attributes:
        name: What the report calls it.
        figure: The figure in which a gate must find it worse; "" if it is as good.
        costs: The key `simulated` of its config.json.
    """

    name: str
    figure: str = ""
    costs: dict[str, float] = field(default_factory=dict)

    def write(self, folder: Path, seed: int) -> Path:
        """Writes a version into a new folder; another seed is another version."""
        folder.mkdir()
        SimulatedModel(seed).prepare(folder)
        config = folder / "config.json"
        config.write_text(json.dumps(json.loads(config.read_text()) | {"simulated": self.costs}))
        return folder


GOOD = Kind("good")
SLOW = Kind("slow", "tpot", {"slowdown": 1.3})
FAILING = Kind("failing", "errors", {"failing": 0.01})
