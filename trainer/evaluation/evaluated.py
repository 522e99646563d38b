"""What the evaluation of a result came to."""

from dataclasses import dataclass

from services.shared.manifests import Measured
from trainer.evaluation.decision import Decision
from trainer.evaluation.figures import Figures
from trainer.gate import Worse


@dataclass(frozen=True, slots=True)
class Evaluated:
    """What an evaluation came to. live: None where no other version is live."""

    result: Figures
    parent: Figures | None
    live: Figures | None
    live_version: str | None
    decision: Decision

    @property
    def measured(self) -> dict[str, Measured]:
        """The figures as a manifest has them."""
        before = self.parent or {}
        return {
            name: Measured(value=figure.value, parent=before[name].value if name in before else None)
            for name, figure in self.result.items()
        }

    def check(self) -> None:
        """Raises Worse for a result that the thresholds refuse."""
        if self.decision.way == "refuse":
            raise Worse(
                f"the evaluation refuses the result: {'; '.join(self.decision.reasons)}. Nothing is published and no"
                " alias moves. To publish it all the same, change evaluate.thresholds; in the same folder nothing is"
                " trained, made or measured again"
            )
