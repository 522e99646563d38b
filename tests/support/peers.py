"""A gateway and a worker as the router sees them: its two gRPC streams, controlled by the test."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from itertools import count

import grpc

from services.shared import rpc
from services.shared.rpc import channel
from tidegate.router.v1 import router_pb2 as pb
from tidegate.router.v1.router_pb2_grpc import RouterServiceStub

_ids = count(1)


class Gateway:
    """Frames of the router wait in `mailbox`. Of catalogs and queue positions only the latest is kept.

    Attributes:
        standing: The latest `Queued` frame by request id and attempt.
    """

    def __init__(self, stream: object) -> None:
        self._stream = stream
        self._writing = asyncio.Lock()  # a stream takes one write at a time
        self.mailbox: asyncio.Queue[pb.RouterFrame] = asyncio.Queue()
        self.catalog = pb.Catalog()
        self.standing: dict[tuple[str, int], pb.Queued] = {}
        self._reader = asyncio.create_task(self._read())

    async def _read(self) -> None:
        async for frame in rpc.frames(self._stream):  # type: ignore[arg-type]
            match frame.WhichOneof("frame"):
                case "catalog":
                    self.catalog = frame.catalog
                case "queued" if (key := (frame.queued.request_id, frame.queued.attempt)) in self.standing:
                    self.standing[key] = frame.queued
                case kind:
                    if kind == "queued":
                        self.standing[frame.queued.request_id, frame.queued.attempt] = frame.queued
                    self.mailbox.put_nowait(frame)

    async def send(self, frame: pb.GatewayFrame) -> None:
        """Sends one frame to the router."""
        async with self._writing:
            await self._stream.write(pb.DispatchRequest(frames=[frame]))  # type: ignore[attr-defined]

    async def submit(self, request_id: str, service_class: str = "default", attempt: int = 1, **fields: object) -> None:
        self.standing.pop((request_id, attempt), None)
        submit = pb.Submit(
            request_id=request_id,
            attempt=attempt,
            pool=str(fields.pop("pool", "tide")),
            service_class=pb.ServiceClass.Value(f"SERVICE_CLASS_{service_class.upper()}"),
            **fields,  # type: ignore[arg-type]
        )
        await self.send(pb.GatewayFrame(submit=submit))

    async def finish(
        self,
        request_id: str,
        attempt: int = 1,
        outcome: str = "completed",
        served: pb.Served | None = None,
        **usage: int,
    ) -> None:
        finish = pb.Finish(
            served=served,
            request_id=request_id,
            attempt=attempt,
            pool="tide",
            outcome=pb.Outcome.Value(f"OUTCOME_{outcome.upper()}"),
            **usage,
        )
        await self.send(pb.GatewayFrame(finish=finish))

    async def next(self, kind: str) -> object:
        """The next frame. Asserts that it is of this kind."""
        frame = await asyncio.wait_for(self.mailbox.get(), 20)
        assert frame.WhichOneof("frame") == kind, frame
        return getattr(frame, kind)

    async def granted(self) -> str:
        """The request id of the next frame. Asserts that it is a grant."""
        grant = await self.next("grant")
        assert isinstance(grant, pb.Grant)
        return grant.request_id

    async def closed(self) -> None:
        """Asserts that the router closes the stream within 20 seconds."""
        await asyncio.wait([self._reader], timeout=20)
        assert self._reader.done()
        self._reader.exception()


@asynccontextmanager
async def gateway(address: str, session_id: str | None = None, *, held: tuple[str, ...] = ()) -> AsyncIterator[Gateway]:
    async with channel(address) as connection:
        peer = Gateway(RouterServiceStub(connection).Dispatch())
        session_id = session_id or f"session-{next(_ids)}"
        hello = pb.DispatchHello(gateway_id="test", session_id=session_id, held_requests=held)
        await peer.send(pb.GatewayFrame(hello=hello))
        await peer.next("welcome")
        yield peer
        peer._reader.cancel()


class Worker:
    """Sends its heartbeat again and again. Change `heartbeat` to report something else."""

    def __init__(self, stream: object, heartbeat: pb.Heartbeat, interval_s: float) -> None:
        self._stream = stream
        self._writing = asyncio.Lock()  # a stream takes one write at a time
        self.heartbeat = heartbeat
        self.welcome = pb.AttachWelcome()
        self._beats = asyncio.create_task(self._beat(interval_s))

    async def _beat(self, interval_s: float) -> None:
        """Sends heartbeats until the router ends the stream."""
        with suppress(asyncio.InvalidStateError, grpc.aio.AioRpcError):
            while True:
                await asyncio.sleep(interval_s)
                await self.beat()

    async def beat(self) -> None:
        """Sends one heartbeat now."""
        async with self._writing:
            await self._stream.write(pb.AttachRequest(heartbeat=self.heartbeat))  # type: ignore[attr-defined]

    async def delivered(self, deliver: pb.Deliver, phase: str = "committed", reason: str = "") -> None:
        """Reports the phase of a weight update. Once it is committed, the worker serves the version."""
        self.heartbeat.delivery.delivery_id = deliver.delivery_id
        self.heartbeat.delivery.model_version = deliver.model_version
        self.heartbeat.delivery.phase = pb.DeliveryPhase.Value(f"DELIVERY_PHASE_{phase.upper()}")
        self.heartbeat.delivery.reason = reason
        if phase == "committed":
            self.heartbeat.model_version = deliver.model_version
        await self.beat()

    async def asked(self, delivery_id: str = "") -> pb.Deliver:
        """The next weight update that the router requests; repetitions of `delivery_id` are skipped."""
        async with asyncio.timeout(20):
            while True:
                frame = await self._stream.read()  # type: ignore[attr-defined]
                if frame.WhichOneof("frame") == "deliver" and frame.deliver.delivery_id != delivery_id:
                    return frame.deliver  # type: ignore[no-any-return]

    async def drained(self) -> pb.Drain:
        """The next order to drain. The worker reports that it does."""
        async with asyncio.timeout(20):
            while True:
                frame = await self._stream.read()  # type: ignore[attr-defined]
                if frame.WhichOneof("frame") == "drain":
                    self.heartbeat.state = pb.WORKER_STATE_DRAINING
                    await self.beat()
                    return frame.drain  # type: ignore[no-any-return]

    async def goodbye(self) -> None:
        """Tells the router that the worker leaves."""
        async with self._writing:
            # A heartbeat that is cancelled while it is written would cancel the whole stream.
            self._beats.cancel()
            await self._stream.write(pb.AttachRequest(goodbye=pb.AttachGoodbye(reason="test")))  # type: ignore[attr-defined]

    async def read(self) -> pb.AttachResponse:
        """The next frame of the router."""
        return await asyncio.wait_for(self._stream.read(), 20)  # type: ignore[attr-defined]

    def stop(self) -> None:
        """Sends no more heartbeats."""
        self._beats.cancel()


@asynccontextmanager
async def worker(
    address: str,
    worker_id: str = "w1",
    *,
    slots: int = 1,
    epoch: int = 1,
    kv_tokens: int = 1_000_000,
    version: str = "v1",
    prefill_tokens_per_s: int = 0,
) -> AsyncIterator[Worker]:
    """A worker that serves `version`; without one it is still loading."""
    heartbeat = pb.Heartbeat(
        worker_id=worker_id,
        epoch=epoch,
        pool="tide",
        address=f"{worker_id}:1",
        state=pb.WORKER_STATE_READY if version else pb.WORKER_STATE_LOADING,
        model_version=version,
        context_tokens=4096,
        capacity=pb.Capacity(slots=slots, kv_tokens=kv_tokens, prefill_tokens_per_s=prefill_tokens_per_s),
    )
    async with channel(address) as connection:
        peer = Worker(RouterServiceStub(connection).Attach(), heartbeat, 0.1)
        await peer.beat()
        first = await peer.read()
        assert first.HasField("welcome")
        peer.welcome = first.welcome
        yield peer
        peer.stop()
