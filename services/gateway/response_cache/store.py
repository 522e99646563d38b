"""Answers that were given, in this gateway's memory: bounded in bytes and in age, the least used ones leave first.

In memory, because a hit has to cost less than a worker's time and nothing is lost with it: another gateway, or this one
after a restart, makes the answer once more.
"""

from collections import OrderedDict
from dataclasses import dataclass

from services.shared.clock import Clock
from tidegate.worker.v1 import worker_pb2

# What a message takes in memory beside its bytes on the wire.
DELTA_BYTES = 256


@dataclass(frozen=True, slots=True)
class CachedResponse:
    """version: of the model that gave it."""

    deltas: tuple[worker_pb2.Delta, ...]
    usage: worker_pb2.Usage
    version: str

    @property
    def size(self) -> int:
        return sum(DELTA_BYTES + delta.ByteSize() for delta in self.deltas)


class ResponseStore:
    """max_bytes: of all answers together, of which one may take an eighth. ttl_s: how long each is good."""

    def __init__(self, max_bytes: int, ttl_s: float, clock: Clock) -> None:
        self._max_bytes, self._ttl_s, self._clock = max_bytes, ttl_s, clock
        self._answers: OrderedDict[bytes, tuple[float, CachedResponse, int]] = OrderedDict()
        self.size = 0

    @property
    def largest(self) -> int:
        return self._max_bytes // 8

    def get(self, key: bytes) -> CachedResponse | None:
        if (found := self._answers.get(key)) is None:
            return None
        good_until, kept, _ = found
        if good_until <= self._clock.monotonic():
            self._drop(key)
            return None
        self._answers.move_to_end(key)
        return kept

    def put(self, key: bytes, kept: CachedResponse) -> None:
        size = kept.size
        if size > self.largest:
            return
        if key in self._answers:
            self._drop(key)
        self._answers[key] = (self._clock.monotonic() + self._ttl_s, kept, size)
        self.size += size
        while self.size > self._max_bytes:
            self._drop(next(iter(self._answers)))

    def _drop(self, key: bytes) -> None:
        self.size -= self._answers.pop(key)[2]
