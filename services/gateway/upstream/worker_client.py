"""Streams to workers: one to each worker, opened when it is first needed, shared by all requests there."""

import logging
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from itertools import count

from services.gateway.upstream.bidirectional import Outbox, StreamEnded, converse
from services.gateway.upstream.mailbox import Mailbox, WorkerLost
from services.shared import rpc
from services.shared.certificates import Tls
from services.shared.clock import Clock
from services.shared.lifecycle import Tasks
from tidegate.router.v1 import router_pb2
from tidegate.worker.v1 import worker_pb2, worker_pb2_grpc

log = logging.getLogger(__name__)

MAX_UNSENT = 65_536
IDLE_S = 60.0
SWEEP_S = 5.0

WorkerKey = tuple[str, int]
"""A worker's address and epoch."""


@dataclass(frozen=True, slots=True)
class Reader:
    """The attempt that reads one stream id."""

    attempt: int
    mailbox: Mailbox


class WorkerStream:
    """All requests between this process and one epoch of one worker."""

    def __init__(self, hello: worker_pb2.Hello, clock: Clock) -> None:
        self._clock = clock
        self._epoch = hello.worker_epoch
        self._readers: dict[int, Reader] = {}
        self._used_at = clock.monotonic()
        self._outbox: Outbox[worker_pb2.ServeFrame] = Outbox(MAX_UNSENT)
        self._outbox.put(worker_pb2.ServeFrame(hello=hello))

    @property
    def idle_s(self) -> float:
        """Seconds since the last request left."""
        return 0.0 if self._readers else self._clock.monotonic() - self._used_at

    @property
    def unsent(self) -> bool:
        """Frames wait to be written."""
        return not self._outbox.empty

    def start(self, start: worker_pb2.Start, mailbox: Mailbox) -> None:
        """Sends a request; what the worker sends back for it goes to `mailbox`."""
        self._readers[start.stream_id] = Reader(start.attempt, mailbox)
        self._outbox.put(worker_pb2.ServeFrame(start=start))

    def credit(self, stream_id: int, tokens: int) -> None:
        """Lets the worker send so many tokens more."""
        self._outbox.put(worker_pb2.ServeFrame(credit=worker_pb2.Credit(stream_id=stream_id, tokens=tokens)))

    def end(self, stream_id: int, cancel: worker_pb2.Cancel | None) -> None:
        """Stops reading a request. `cancel` tells the worker to stop it; None when the worker has ended it."""
        self._used_at = self._clock.monotonic()
        if self._readers.pop(stream_id, None) and cancel:
            self._outbox.put(worker_pb2.ServeFrame(cancel=cancel))

    async def run(self, address: str, tls: Tls | None) -> None:
        """Connects and carries frames.

        Raises:
            StreamEnded: always, in the end.
        """
        async with rpc.channel(address, tls) as channel:
            call = worker_pb2_grpc.WorkerServiceStub(channel).Serve()
            await converse(call, self._outbox, _message, self._take)

    def lost(self) -> None:
        """Tells every request on the stream that it is gone."""
        readers, self._readers = self._readers, {}
        for reader in readers.values():
            reader.mailbox.put(WorkerLost(reached=self._outbox.reaches))

    def _take(self, response: worker_pb2.ServeResponse) -> None:
        """Hands on what one engine step produced. Frames of another epoch or attempt are dropped."""
        if response.worker_epoch != self._epoch:
            return
        self._put(response.started)
        found: dict[Mailbox, list[worker_pb2.Delta]] = {}
        readers = self._readers
        for delta in response.deltas:
            reader = readers.get(delta.stream_id)
            if reader and reader.attempt == delta.attempt:
                found.setdefault(reader.mailbox, []).append(delta)
        for mailbox, deltas in found.items():
            mailbox.put_deltas(deltas)
        self._put(response.ended)

    def _put(self, frames: Iterable[worker_pb2.Started | worker_pb2.Ended]) -> None:
        for frame in frames:
            reader = self._readers.get(frame.stream_id)
            if reader and reader.attempt == frame.attempt:
                reader.mailbox.put(frame)


def _message(frames: Sequence[worker_pb2.ServeFrame]) -> worker_pb2.ServeRequest:
    return worker_pb2.ServeRequest(frames=frames)


class WorkerClient:
    """Finds or opens the stream to the worker that a grant names.

    Args:
        gateway_id: what workers see in their logs.
    """

    def __init__(self, gateway_id: str, *, clock: Clock, tls: Tls | None = None) -> None:
        self._gateway_id, self._clock, self._tls = gateway_id, clock, tls
        self._streams: dict[WorkerKey, WorkerStream] = {}
        self._closers: dict[WorkerKey, Callable[[], object]] = {}
        self._tasks = Tasks()
        self._stream_ids = count(1)

    async def start(self) -> None:
        """Starts closing idle streams."""
        self._tasks.start(self._close_idle(), "idle worker streams")

    async def stop(self, flush_s: float = 1.0) -> None:
        """Waits at most `flush_s` seconds until all frames are written, then closes all streams."""
        give_up = self._clock.monotonic() + flush_s
        while any(stream.unsent for stream in self._streams.values()) and self._clock.monotonic() < give_up:
            await self._clock.sleep(0.01)
        await self._tasks.stop()

    def mint_stream_id(self) -> int:
        """A new id for a request on any of the streams."""
        return next(self._stream_ids)

    def stream_to(self, grant: router_pb2.Grant) -> WorkerStream:
        """The stream to the worker of this grant. Frames may be sent before it is connected."""
        key = (grant.worker_address, grant.worker_epoch)
        if key not in self._streams:
            hello = worker_pb2.Hello(
                gateway_id=self._gateway_id, worker_epoch=grant.worker_epoch, crosses_versions=True
            )
            stream = self._streams[key] = WorkerStream(hello, self._clock)
            self._closers[key] = self._tasks.start(self._run(key, stream), f"worker {grant.worker_id}").cancel
        return self._streams[key]

    async def _run(self, key: WorkerKey, stream: WorkerStream) -> None:
        try:
            await stream.run(key[0], self._tls)
        except StreamEnded as ended:
            log.warning("the stream to worker %s ended: %s", key[0], ended)
        finally:
            del self._streams[key], self._closers[key]
            stream.lost()

    async def _close_idle(self) -> None:
        while True:
            await self._clock.sleep(SWEEP_S)
            for key, stream in list(self._streams.items()):
                if stream.idle_s > IDLE_S:
                    self._closers[key]()
