"""The router's side of Attach, driven by a test."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from services.shared import rpc
from tidegate.router.v1 import router_pb2 as pb
from tidegate.router.v1 import router_pb2_grpc

Frames = AsyncIterator[pb.AttachRequest]


class Router(router_pb2_grpc.RouterServiceServicer):
    """Welcomes every worker, keeps its frames, and can send orders to the last one.

    Attributes:
        start: What it tells the next worker to start on.
    """

    def __init__(self) -> None:
        self.address = ""
        self.heartbeats: list[pb.Heartbeat] = []
        self.goodbyes: list[pb.AttachGoodbye] = []
        self.start = pb.AttachWelcome()
        self._outgoing: asyncio.Queue[pb.AttachResponse | None] = asyncio.Queue()

    @property
    def states(self) -> list[int]:
        """The worker's states, in order, without repetition."""
        states = [beat.state for beat in self.heartbeats]
        return [state for index, state in enumerate(states) if index == 0 or state != states[index - 1]]

    def drain(self, timeout_ms: int = 1000) -> None:
        self._outgoing.put_nowait(pb.AttachResponse(drain=pb.Drain(timeout_ms=timeout_ms)))

    def order_stage(self, stage_id: str, version: str, *, speculator: bool = False) -> None:
        order = pb.StageOrder(stage_id=stage_id, model_version=version, speculator=speculator)
        self._outgoing.put_nowait(pb.AttachResponse(stage=order))

    def order_update(
        self,
        delivery_id: str,
        version: str,
        finish_timeout_ms: int = 5000,
        mode: "pb.SwapMode.ValueType" = pb.SWAP_MODE_UNSPECIFIED,
        *,
        speculator: bool = False,
    ) -> None:
        deliver = pb.Deliver(
            delivery_id=delivery_id,
            model_version=version,
            finish_timeout_ms=finish_timeout_ms,
            mode=mode,
            speculator=speculator,
        )
        self._outgoing.put_nowait(pb.AttachResponse(deliver=deliver))

    async def Attach(  # noqa: N802
        self, request_iterator: Frames, context: rpc.Context
    ) -> AsyncIterator[pb.AttachResponse]:
        outgoing: asyncio.Queue[pb.AttachResponse | None] = asyncio.Queue()
        self._outgoing = outgoing
        self._keep(await anext(request_iterator))
        welcome = pb.AttachWelcome(router_id="test", heartbeat_interval_ms=60_000, lease_ms=10_000)
        welcome.MergeFrom(self.start)
        yield pb.AttachResponse(welcome=welcome)
        reading = asyncio.create_task(self._read(request_iterator))
        reading.add_done_callback(lambda _: outgoing.put_nowait(None))
        try:
            while frame := await outgoing.get():
                yield frame
        finally:
            reading.cancel()
            await asyncio.gather(reading, return_exceptions=True)

    async def Dispatch(  # noqa: N802
        self, request_iterator: AsyncIterator[pb.DispatchRequest], context: rpc.Context
    ) -> AsyncIterator[pb.DispatchResponse]:
        raise NotImplementedError
        yield

    async def ReadLog(self, request: pb.ReadLogRequest, context: rpc.Context) -> pb.ReadLogResponse:  # noqa: N802
        raise NotImplementedError

    async def _read(self, frames: Frames) -> None:
        async for frame in frames:
            self._keep(frame)

    def _keep(self, frame: pb.AttachRequest) -> None:
        if frame.WhichOneof("frame") == "goodbye":
            self.goodbyes.append(frame.goodbye)
        else:
            self.heartbeats.append(frame.heartbeat)


@asynccontextmanager
async def running_router(address: str = "127.0.0.1:0") -> AsyncIterator[Router]:
    router, server = Router(), rpc.server()
    router_pb2_grpc.add_RouterServiceServicer_to_server(router, server)
    router.address = f"127.0.0.1:{rpc.bind(server, address)}"
    await server.start()
    yield router
    await server.stop(0)
