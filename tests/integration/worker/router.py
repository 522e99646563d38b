"""The router's side of Attach, held by a test."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from services.shared import rpc
from tidegate.router.v1 import router_pb2 as pb
from tidegate.router.v1 import router_pb2_grpc

Frames = AsyncIterator[pb.AttachRequest]


class Router(router_pb2_grpc.RouterServiceServicer):
    """Welcomes every worker, keeps what it says, and can tell it to drain."""

    def __init__(self) -> None:
        self.address = ""
        self.heartbeats: list[pb.Heartbeat] = []
        self.goodbyes: list[pb.AttachGoodbye] = []
        self.drain = asyncio.Event()

    @property
    def states(self) -> list[int]:
        """In the order in which they were entered."""
        states = [beat.state for beat in self.heartbeats]
        return [state for index, state in enumerate(states) if index == 0 or state != states[index - 1]]

    async def Attach(  # noqa: N802
        self, request_iterator: Frames, context: rpc.Context
    ) -> AsyncIterator[pb.AttachResponse]:
        draining = asyncio.ensure_future(self.drain.wait())
        self._keep(await anext(request_iterator))
        yield pb.AttachResponse(
            welcome=pb.AttachWelcome(router_id="test", heartbeat_interval_ms=60_000, lease_ms=10_000)
        )
        reading = asyncio.create_task(self._read(request_iterator))
        try:
            await asyncio.wait([draining, reading], return_when=asyncio.FIRST_COMPLETED)
            if draining.done():
                yield pb.AttachResponse(drain=pb.Drain(timeout_ms=1000))
            await reading
        finally:
            draining.cancel()
            reading.cancel()
            await asyncio.gather(draining, reading, return_exceptions=True)

    async def Dispatch(  # noqa: N802
        self, request_iterator: AsyncIterator[pb.DispatchRequest], context: rpc.Context
    ) -> AsyncIterator[pb.DispatchResponse]:
        raise NotImplementedError
        yield

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
