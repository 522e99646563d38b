"""A gRPC client of one worker: measures its time to first token without a gateway."""

import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from itertools import count
from statistics import median
from typing import Any

import grpc
import orjson

from loadtests.bench.load_generator import Load
from tidegate.worker.v1 import worker_pb2 as pb
from tidegate.worker.v1 import worker_pb2_grpc


class WorkerClient:
    """One `Serve` stream to a worker."""

    def __init__(self, stream: Any) -> None:
        self._stream = stream
        self._ids = count(1)

    @classmethod
    @asynccontextmanager
    async def to(cls, address: str) -> AsyncIterator["WorkerClient"]:
        """Connects to the worker at host:port until the `with` block ends."""
        async with grpc.aio.insecure_channel(address) as channel:
            stream = worker_pb2_grpc.WorkerServiceStub(channel).Serve()
            await stream.write(pb.ServeRequest(frames=[pb.ServeFrame(hello=pb.Hello(gateway_id="bench"))]))
            yield cls(stream)
            stream.cancel()

    async def ttft_ms(self, load: Load) -> float:
        """Sends all requests of the load at the same moment and waits until they have ended.

        Returns:
            Median time to first token in milliseconds.
        """
        sent: dict[int, float] = {}
        took: dict[int, float] = {}
        for _ in range(load.requests):
            start = _start(next(self._ids), load.tokens)
            sent[start.stream_id] = time.monotonic()
            await self._stream.write(pb.ServeRequest(frames=[pb.ServeFrame(start=start)]))
        ended = 0
        while ended < load.requests:
            frames = await self._stream.read()
            now = time.monotonic()
            for delta in frames.deltas:
                took.setdefault(delta.stream_id, now - sent[delta.stream_id])
            ended += len(frames.ended)
        return 1e3 * median(took.values())


def _start(stream_id: int, tokens: int) -> pb.Start:
    message = {"role": "user", "content": f"request {stream_id}"}
    return pb.Start(
        stream_id=stream_id,
        request_id=f"bench-{stream_id}",
        attempt=1,
        chat=pb.ChatPrompt(messages_json=orjson.dumps([message])),
        sampling=pb.Sampling(max_tokens=tokens, temperature=0.0, ignore_eos=True),
    )
