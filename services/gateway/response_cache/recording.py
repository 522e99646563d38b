"""An answer that is read for the first time, and kept once it is whole."""

from services.gateway.generation.token_stream import TokenStream
from services.gateway.response_cache.store import DELTA_BYTES, CachedResponse
from services.gateway.upstream.mailbox import DeltaSink
from services.shared.classes import ServiceClass
from tidegate.router.v1 import router_pb2
from tidegate.worker.v1 import worker_pb2


class RecordingStream:
    """Gives up what it has once that is more than `largest` bytes."""

    def __init__(self, answer: TokenStream, largest: int) -> None:
        self.generation = answer.generation
        self._answer, self._room = answer, largest
        self._deltas: list[worker_pb2.Delta] = []
        self._whole = False

    @property
    def kept(self) -> CachedResponse | None:
        """None for one that broke off, or is too large."""
        return (
            CachedResponse(tuple(self._deltas), self.usage, self.version) if self._whole and self._room >= 0 else None
        )

    @property
    def version(self) -> str:
        return self._answer.version

    @property
    def usage(self) -> worker_pb2.Usage:
        return self._answer.usage

    @property
    def resumable(self) -> bool:
        return self._answer.resumable

    @property
    def limits(self) -> list[router_pb2.LimitState]:
        return self._answer.limits

    @property
    def service_class(self) -> ServiceClass:
        return self._answer.service_class

    @property
    def queued(self) -> router_pb2.Queued | None:
        return self._answer.queued

    def interrupt(self, error: Exception) -> None:
        self._answer.interrupt(error)

    async def begin(self) -> None:
        await self._answer.begin()

    async def read(self, at_once: DeltaSink | None = None) -> list[worker_pb2.Delta]:
        """Gives nothing to `at_once`: what is read is kept here."""
        deltas = await self._answer.read()
        self._whole = not deltas
        self._room -= sum(DELTA_BYTES + delta.ByteSize() for delta in deltas)
        if self._room >= 0:
            self._deltas += deltas
        else:
            self._deltas.clear()
        return deltas
