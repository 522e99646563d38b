"""A simulated speculator: how many tokens of a draft are right. It changes the pace of an answer, not its text."""

from random import Random

from services.worker.engine.contract import Drafter, Model
from services.worker.engine.simulated.version import version_costs


class SimulatedDrafter:
    """The speculator that the engine drafts with. What is accepted is the same for each start of it."""

    def __init__(self, drafter: Drafter, tokens: int) -> None:
        """Raises SwapFailed when config.json has a wrong value.

        Args:
            drafter: The speculator. `simulated.acceptance` of its config.json is the part of its tokens that are
                accepted, of those whose predecessors were.
            tokens: Tokens in each draft.
        """
        self.drafter, self.tokens = drafter, tokens
        self._acceptance = version_costs(Model(drafter.folder, drafter.manifest)).acceptance
        self._random = Random(drafter.manifest.version)  # noqa: S311 - no secret
        self.drafted = [0] * tokens
        self.accepted = [0] * tokens

    def counting_on(self, before: "SimulatedDrafter | None") -> "SimulatedDrafter":
        """Goes on with the counts of the speculator before."""
        if before:
            self.drafted, self.accepted = before.drafted, before.accepted
        return self

    def draft(self) -> int:
        """Drafts for one sequence. Returns how many of the tokens are right."""
        for position in range(self.tokens):
            self.drafted[position] += 1
        right = 0
        while right < self.tokens and self._random.random() < self._acceptance:
            right += 1
        return right

    def took(self, position: int) -> None:
        """The token at a position of a draft, from 0, is part of an answer."""
        self.accepted[position] += 1
