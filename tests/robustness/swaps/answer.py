"""A long answer as its client gets it, and whether each piece is what the version that it names says there."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from services.worker.engine.contract import ChatPrompt, Sampling
from services.worker.engine.simulated.choice import SimulatedChoice
from services.worker.engine.simulated.prompt import tokens_of
from services.worker.engine.simulated.tokens import Oracle


@dataclass(slots=True)
class Piece:
    """Text of the events that have one fingerprint, one after another."""

    fingerprint: str
    text: str = ""


@dataclass(slots=True)
class LongAnswer:
    """An answer while it comes."""

    question: str
    pieces: list[Piece] = field(default_factory=list)
    failure: str = ""

    @property
    def length(self) -> int:
        """Characters so far."""
        return sum(len(piece.text) for piece in self.pieces)

    def take(self, event: Mapping[str, Any]) -> None:
        """Adds an event of the stream."""
        if "error" in event:
            self.failure = f"{event['error']}"
            return
        if not self.pieces or self.pieces[-1].fingerprint != event["system_fingerprint"]:
            self.pieces.append(Piece(event["system_fingerprint"]))
        for choice in event["choices"]:
            self.pieces[-1].text += choice["delta"].get("content") or ""

    def wrong(self, weights: Mapping[str, str], tokens: int) -> str:
        """What is wrong with it, or "".

        Args:
            weights: SHA-256 of each version's weights, by its fingerprint.
            tokens: That the client asked for.
        """
        if self.failure:
            return f"{self.question}: {self.failure}"
        at = 0
        for number, piece in enumerate(self.pieces):
            if piece.fingerprint not in weights:
                return f"{self.question}: unknown version {piece.fingerprint}"
            used = taken(words(weights[piece.fingerprint], self.question, tokens)[at:], piece.text)
            if used is None:
                return f"{self.question}: piece {number} of {piece.fingerprint} is not what that version says"
            at += used
        return ""


def words(weights_sha256: str, question: str, tokens: int) -> list[str]:
    """What weights say, token by token, by the definition of the simulated engine alone."""
    prompt = tokens_of(ChatPrompt([{"role": "user", "content": question}]))
    oracle = Oracle(weights_sha256, prompt, Sampling(temperature=0.0, ignore_eos=True), 0)
    answer = SimulatedChoice(oracle, tokens)
    return [answer.next().text for _ in range(tokens)]


def taken(said: Sequence[str], text: str) -> int | None:
    """How many tokens make up the text; None if they do not."""
    length = 0
    for number, word in enumerate(said):
        if length >= len(text):
            return number
        if not text.startswith(word, length):
            return None
        length += len(word)
    return len(said) if length == len(text) else None
