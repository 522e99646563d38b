"""What decides where requests go, as the simulation sees it: it is told what happens and says what is to be done."""

from dataclasses import dataclass
from typing import Protocol

from loadtests.simulator.engine import Engine
from loadtests.simulator.request import Request


@dataclass(frozen=True, slots=True)
class Start:
    """rank: as which the engine is told to take it, 0 first."""

    request: Request
    worker: int
    rank: int


@dataclass(frozen=True, slots=True)
class Yield:
    """Give up what runs; it is submitted again at once."""

    request: Request


@dataclass(frozen=True, slots=True)
class Refuse:
    request: Request
    outcome: str


Order = Start | Yield | Refuse


class Dispatch(Protocol):
    """Everything that is told at one moment takes effect, in order, with the next `flush`."""

    def submit(self, request: Request) -> None:
        """A new request, or one that yielded: then its attempt is not the first."""
        ...

    def finish(self, request: Request) -> None: ...

    def beat(self, worker: int, engine: Engine) -> None:
        """A worker reports how it is."""
        ...

    def upkeep(self) -> None:
        """Called now and then, for whatever time alone brings about."""
        ...

    def flush(self, now_ms: int) -> list[Order]: ...
