"""Cached responses in this gateway's memory, bounded in bytes and in age; the least recently used leave first.

They stay in memory because a hit has to cost less than a worker's time, and nothing is lost with them: another gateway,
or this one after a restart, makes the answer once more.
"""

from collections import OrderedDict
from dataclasses import dataclass

from services.shared.clock import Clock
from tidegate.worker.v1 import worker_pb2

# What a message takes in memory beside its bytes on the wire.
DELTA_BYTES = 256


def size_of(delta: worker_pb2.Delta) -> int:
    """Bytes of memory that a kept delta takes."""
    return DELTA_BYTES + delta.ByteSize()


@dataclass(frozen=True, slots=True)
class CachedResponse:
    """A complete answer.

    Args:
        version: of the model that gave it.
    """

    deltas: tuple[worker_pb2.Delta, ...]
    usage: worker_pb2.Usage
    version: str

    @property
    def size(self) -> int:
        """Bytes of memory."""
        return sum(size_of(delta) for delta in self.deltas)


class ResponseStore:
    """The cached responses of one pool.

    Args:
        max_bytes: of all responses together. One response may take an eighth of it.
        ttl_s: how long each response stays valid.
    """

    def __init__(self, max_bytes: int, ttl_s: float, clock: Clock) -> None:
        self._max_bytes, self._ttl_s, self._clock = max_bytes, ttl_s, clock
        self._responses: OrderedDict[bytes, tuple[float, CachedResponse, int]] = OrderedDict()
        self.size = 0

    @property
    def largest(self) -> int:
        """Bytes that one response may take."""
        return self._max_bytes // 8

    def get(self, key: bytes) -> CachedResponse | None:
        """The response under this key, if it is still valid."""
        if (found := self._responses.get(key)) is None:
            return None
        valid_until, response, _ = found
        if valid_until <= self._clock.monotonic():
            self._drop(key)
            return None
        self._responses.move_to_end(key)
        return response

    def put(self, key: bytes, response: CachedResponse) -> None:
        """Keeps a response, unless it is too large."""
        size = response.size
        if size > self.largest:
            return
        if key in self._responses:
            self._drop(key)
        self._responses[key] = (self._clock.monotonic() + self._ttl_s, response, size)
        self.size += size
        while self.size > self._max_bytes:
            self._drop(next(iter(self._responses)))

    def _drop(self, key: bytes) -> None:
        self.size -= self._responses.pop(key)[2]
