"""A run as it is ordered, and what it came to."""

from dataclasses import dataclass, field
from pathlib import Path

from services.shared.manifests import Manifest, Measured
from trainer.data.report import Report
from trainer.evaluation.evaluated import Evaluated
from trainer.recipe import Recipe
from trainer.record import Counts
from trainer.teacher import Endpoint


@dataclass(frozen=True, slots=True)
class Order:
    """A run that is to be made.

    folder: its own; cache: of verified base models, shared between runs. teacher: where the teacher of a distillation
    is served. gateway: where the served candidate is asked. llm_compressor: the Python of its environment. processes:
    that learn together.
    """

    recipe: Recipe
    folder: Path
    cache: Path
    job: str | None = None
    teacher: Endpoint | None = None
    gateway: Endpoint | None = None
    llm_compressor: Path | None = None
    processes: int = 1


@dataclass(slots=True)
class Outcome:
    """What a run came to. Losses are on held-out samples, in nats a token; None: there was no data to measure with.

    report: what became of the records. figures: what the method measures of held-out samples beside the loss.
    evaluated: by the recipe's tasks.
    """

    held_out_before: float | None
    held_out_after: float | None
    counts: Counts
    report: Report | None
    figures: dict[str, float]
    published: list[Manifest] = field(default_factory=list)
    evaluated: Evaluated | None = None

    @property
    def loss(self) -> Measured | None:
        """The loss of the result beside that of its base."""
        if self.held_out_after is None:
            return None
        return Measured(value=self.held_out_after, parent=self.held_out_before)

    @property
    def evaluation(self) -> dict[str, Measured]:
        """What the tasks of the recipe measured, as a manifest has it."""
        return self.evaluated.measured if self.evaluated else {}

    @property
    def in_steps(self) -> bool:
        """Whether a rollout of it goes in steps, whatever the pool's policy is."""
        return self.evaluated is not None and self.evaluated.decision.way == "canary"
