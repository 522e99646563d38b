"""Faults of a simulated engine; a test or a drill sets them."""

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(slots=True)
class Faults:
    """What goes wrong in a simulated engine.

    Attributes:
        hang: Steps do not end any more, while everything else answers.
        slowdown: Factor on the cost of each step.
        crash: The next step kills the engine.
        poison: A prompt with this text kills the engine when it is computed.
        swap: "crash" kills the engine when its weights are replaced; with any other text the swap fails with that text.
        draft_swap: The speculator is replaced with a failure that says so; None: it is not.
        adapters: Names of adapters that the engine refuses, and what it says then.
    """

    hang: bool = False
    slowdown: float = 1.0
    crash: bool = False
    poison: str | None = None
    swap: str | None = None
    draft_swap: str | None = None
    adapters: Mapping[str, str] = field(default_factory=dict)

    def kills(self, prompt_texts: list[str]) -> bool:
        """Whether a step that computes these prompts kills the engine."""
        return self.crash or any(self.poison is not None and self.poison in text for text in prompt_texts)
