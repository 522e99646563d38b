"""Ways in which a simulated engine can be made to fail. Whoever holds the object decides when."""

from dataclasses import dataclass


@dataclass(slots=True)
class Faults:
    """hang: steps stop ending while everything else answers. slowdown: factor on the cost of each step.
    swap: what goes wrong when weights are replaced ("crash": the engine dies; any other text: the swap fails with it).
    crash: the next step kills the engine. poison: a prompt with this text kills the engine when it is computed."""

    hang: bool = False
    slowdown: float = 1.0
    crash: bool = False
    poison: str | None = None
    swap: str | None = None

    def kills(self, prompt_texts: list[str]) -> bool:
        return self.crash or any(self.poison is not None and self.poison in text for text in prompt_texts)
