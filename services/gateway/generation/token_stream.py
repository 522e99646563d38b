"""A generation's tokens as a reader sees them, whether a worker makes them now or the response cache has them."""

from typing import Protocol

from services.gateway.domain.generation import Generation
from services.gateway.generation.progress import VersionSpan
from services.gateway.upstream.mailbox import DeltaSink
from services.shared.classes import ServiceClass
from tidegate.router.v1 import router_pb2
from tidegate.worker.v1 import worker_pb2


class TokenStream(Protocol):
    """What every reader of tokens may use: perhaps `admit`, `begin`, perhaps `deliver_to`, then `read` to the end."""

    generation: Generation

    @property
    def version(self) -> str:
        """Version of what answers: of the adapter if the request names one, else of the model; empty at first."""
        ...

    @property
    def model_version(self) -> str:
        """Version of the model that answers, with or without an adapter; empty until a worker was granted."""
        ...

    @property
    def spans(self) -> tuple[VersionSpan, ...]:
        """Which tokens so far came from which version of the model; empty if all came from one."""
        ...

    @property
    def usage(self) -> worker_pb2.Usage:
        """Token counts so far."""
        ...

    @property
    def prompt(self) -> worker_pb2.Started:
        """The token ids and log probabilities of the prompt, if the request asks for them. Known once it has begun."""
        ...

    @property
    def resumable(self) -> bool:
        """Another worker with the same version could continue it exactly. Known once it has begun."""
        ...

    @property
    def limits(self) -> list[router_pb2.LimitState]:
        """States of the caller's limits, once the router has replied."""
        ...

    @property
    def service_class(self) -> ServiceClass:
        """The class that it is served in; the router decides."""
        ...

    @property
    def queued(self) -> router_pb2.Queued | None:
        """The last place in the queue that the router told of; None while it does not wait there."""
        ...

    def interrupt(self, error: Exception) -> None:
        """Makes `begin` and `read` raise `error`."""
        ...

    async def admit(self) -> None:
        """Waits until the router has taken the request. `begin` does this too, and then waits for tokens.

        Raises:
            TidegateError: the request was refused, or it failed.
        """
        ...

    async def begin(self) -> None:
        """Waits for the first tokens. If this call is cancelled, it may be made again.

        Raises:
            TidegateError: the request was refused, or it failed.
        """
        ...

    def deliver_to(self, sink: DeltaSink) -> None:
        """Lets `sink` have deltas in the moment they arrive while `read` waits, without a switch to the reader's task.

        `read` does not return what the sink has taken. Call this once, after `begin`.
        """
        ...

    async def read(self) -> list[worker_pb2.Delta]:
        """Returns the deltas that came since the last call; none: the answer is complete.

        The call also says that the client has the deltas of the call before.

        Raises:
            TidegateError: the answer cannot be completed.
        """
        ...
