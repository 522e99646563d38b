"""Who is told how a training run goes."""

from collections.abc import Callable
from typing import Protocol


class Watcher(Protocol):
    """Is told how a training run goes, for people."""

    def phase(self, name: str) -> None:
        """Something that takes a while begins; a few words for people."""
        ...

    def note(self, text: str) -> None:
        """Something that people should know about the run, and that does not stop it."""
        ...

    def step(self, done: int, total: int, loss: float) -> None:
        """A step has ended; `loss` is in nats a token."""
        ...

    def uploading(self, total_bytes: int) -> Callable[[int], None]:
        """Returns what is to be told the bytes that have just moved."""
        ...
