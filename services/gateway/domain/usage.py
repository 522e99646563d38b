"""What a request used, and where that is written down. The ledger implements these protocols."""

from dataclasses import dataclass
from typing import Literal, Protocol

from services.gateway.domain.generation import Generation
from services.shared.classes import ServiceClass
from tidegate.worker.v1 import worker_pb2

Outcome = Literal["completed", "cancelled", "failed", "timed_out", "lost"]
"""lost: the gateway died before it knew how the request ended."""


@dataclass(frozen=True, slots=True)
class UsedResources:
    """What one request has used so far.

    Args:
        version: of the model, or of the adapter that answers; empty while no worker has begun.
        service_class: the class that the request was served in.
        usage: token counts.
        queue_wait_ms: how long the router held the request before its grant.
    """

    version: str
    service_class: ServiceClass
    usage: worker_pb2.Usage
    queue_wait_ms: int


class LedgerEntry(Protocol):
    """The ledger's record of one request. Each method may be called again; only the first call counts."""

    def accept(self) -> None:
        """The cluster has taken the request: from now on it leaves a row, whatever happens."""
        ...

    def first_token(self) -> None:
        """The first tokens are here."""
        ...

    def end(self, outcome: Outcome, used: UsedResources) -> None:
        """The request is over. A request that was never accepted leaves no row."""
        ...


class LedgerWriter(Protocol):
    """Opens the records of requests."""

    def check(self) -> None:
        """Checks that one more request can be written down.

        Raises:
            Overloaded: neither disk nor database takes more rows now.
        """
        ...

    def open(self, generation: Generation) -> LedgerEntry:
        """Begins the record of one request."""
        ...
