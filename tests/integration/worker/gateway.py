"""The gateway's side of a Serve stream, driven by a test."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import grpc

from services.shared import rpc
from tests.support.wait import wait_until
from tidegate.worker.v1 import worker_pb2 as pb
from tidegate.worker.v1 import worker_pb2_grpc


class Gateway:
    """Keeps all received frames."""

    def __init__(self, call: grpc.aio.StreamStreamCall[pb.ServeRequest, pb.ServeResponse]) -> None:
        self._call = call
        self.responses: list[pb.ServeResponse] = []
        # gRPC takes one message at a time.
        self._writing = asyncio.Lock()

    async def hello(self, epoch: int = 0, *, crosses_versions: bool = True) -> None:
        hello = pb.Hello(gateway_id="test", worker_epoch=epoch, crosses_versions=crosses_versions)
        await self._say(pb.ServeFrame(hello=hello))

    async def start(
        self, stream_id: int, text: str = "hello", sampling: pb.Sampling | None = None, **fields: Any
    ) -> None:
        """Attempt 1 of a request, with further fields of Start."""
        named: dict[str, Any] = {"stream_id": stream_id, "request_id": f"r{stream_id}", "attempt": 1}
        start = pb.Start(text=text, sampling=sampling, **named, **fields)
        await self._say(pb.ServeFrame(start=start))

    async def cancel(
        self,
        stream_id: int,
        attempt: int = 1,
        reason: pb.CancelReason.ValueType = pb.CANCEL_REASON_CLIENT_LEFT,
    ) -> None:
        await self._say(pb.ServeFrame(cancel=pb.Cancel(stream_id=stream_id, attempt=attempt, reason=reason)))

    async def credit(self, stream_id: int, tokens: int) -> None:
        await self._say(pb.ServeFrame(credit=pb.Credit(stream_id=stream_id, tokens=tokens)))

    async def _say(self, frame: pb.ServeFrame) -> None:
        async with self._writing:
            await self._call.write(pb.ServeRequest(frames=[frame]))

    async def hang_up(self) -> None:
        await self._call.done_writing()

    async def read(self) -> None:
        async for response in self._call:
            self.responses.append(response)

    def deltas(self, stream_id: int) -> list[pb.Delta]:
        return [delta for response in self.responses for delta in response.deltas if delta.stream_id == stream_id]

    def tokens(self, stream_id: int) -> list[int]:
        return [token for delta in self.deltas(stream_id) for token in delta.token_ids]

    def sizes(self, stream_id: int) -> list[int]:
        """Tokens of each delta."""
        return [len(delta.token_ids) for delta in self.deltas(stream_id)]

    def text(self, stream_id: int) -> str:
        return "".join(delta.text for delta in self.deltas(stream_id))

    def ended(self, stream_id: int) -> pb.Ended | None:
        frames = (frame for response in self.responses for frame in response.ended)
        return next((frame for frame in frames if frame.stream_id == stream_id), None)

    async def end_of(self, stream_id: int) -> pb.Ended:
        await wait_until(lambda: self.ended(stream_id), description=f"stream {stream_id} has ended")
        ended = self.ended(stream_id)
        assert ended is not None
        return ended


@asynccontextmanager
async def connected(address: str, *, crosses_versions: bool = True) -> AsyncIterator[Gateway]:
    """A stream that has said Hello."""
    async with rpc.channel(address) as channel:
        call = worker_pb2_grpc.WorkerServiceStub(channel).Serve()
        gateway = Gateway(call)
        await gateway.hello(crosses_versions=crosses_versions)
        reading = asyncio.create_task(gateway.read())
        yield gateway
        call.cancel()
        await asyncio.gather(reading, return_exceptions=True)
