"""An answer as its reader sees it, whether a worker makes it or the cache has it."""

from typing import Protocol

from services.gateway.domain.generation import Generation
from services.gateway.upstream.mailbox import DeltaSink
from services.shared.classes import ServiceClass
from tidegate.router.v1 import router_pb2
from tidegate.worker.v1 import worker_pb2


class TokenStream(Protocol):
    """What each of them means stands at Answer's."""

    generation: Generation

    @property
    def version(self) -> str: ...
    @property
    def usage(self) -> worker_pb2.Usage: ...
    @property
    def resumable(self) -> bool: ...
    @property
    def limits(self) -> list[router_pb2.LimitState]: ...
    @property
    def service_class(self) -> ServiceClass: ...
    @property
    def queued(self) -> router_pb2.Queued | None: ...

    def interrupt(self, error: Exception) -> None: ...
    async def begin(self) -> None: ...
    async def read(self, at_once: DeltaSink | None = None) -> list[worker_pb2.Delta]: ...
