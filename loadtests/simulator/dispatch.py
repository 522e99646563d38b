"""The part that decides where requests go, as the simulation sees it: it gets events and returns orders."""

from dataclasses import dataclass
from typing import Protocol

from loadtests.simulator.engine import Engine
from loadtests.simulator.request import Request


@dataclass(frozen=True, slots=True)
class Start:
    """Start a request on a worker. `rank`: its class for the engine's queue; 0 goes first."""

    request: Request
    worker: int
    rank: int


@dataclass(frozen=True, slots=True)
class Yield:
    """Preempt a running request; it is submitted again at once."""

    request: Request


@dataclass(frozen=True, slots=True)
class Refuse:
    """Refuse a request. `outcome` says why."""

    request: Request
    outcome: str


Order = Start | Yield | Refuse


class Dispatch(Protocol):
    """Collects events. All events of one moment take effect, in order, with the next `flush`."""

    def submit(self, request: Request) -> None:
        """A request comes, or one that was preempted comes again with a higher attempt."""
        ...

    def finish(self, request: Request) -> None:
        """A request has ended."""

    def beat(self, worker: int, engine: Engine) -> None:
        """A worker sends a heartbeat."""
        ...

    def maintenance(self) -> None:
        """Called at intervals, for what depends on time alone."""
        ...

    def flush(self, now_ms: int) -> list[Order]:
        """Returns what to do after all events so far."""
