"""A server under test."""

from dataclasses import dataclass
from typing import Literal

Capability = Literal["grammar", "script"]
"""grammar: structured outputs. script: answers as told in the prompt, as the simulated engine gives them."""


@dataclass(frozen=True, slots=True)
class Target:
    """A server under test.

    Attributes:
        name: how tables call it.
        url: its base URL for OpenAI's clients, which ends with `/v1`.
        key: a key that it knows; empty if it wants none.
        model: a chat model that it serves.
        can: what the model can do. Checks that need more are left out.
    """

    name: str
    url: str
    key: str
    model: str
    can: frozenset[Capability] = frozenset({"grammar"})

    @property
    def root(self) -> str:
        """The URL without `/v1`."""
        return self.url.rstrip("/").removesuffix("/v1")
