"""A minimal gateway: HTTP, JSON and two gRPC streams. It shows the least CPU that a gateway in Python needs.

It has no keys, no validation, no ledger, no metrics, no retries and no frameworks. It uses a real router and real
workers, and does not stream.

Usage: `python -m loadtests.bench.minimal_gateway PORT ROUTER`
"""

import asyncio
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from typing import Any

import grpc
import orjson
import psutil
import uvloop

from loadtests.bench.http import Connection, serve
from loadtests.bench.peers import KEY
from loadtests.bench.process import OWN_CODE, free_port, server
from loadtests.target import Target
from services.shared.rpc import channel
from tidegate.router.v1 import router_pb2, router_pb2_grpc
from tidegate.worker.v1 import worker_pb2, worker_pb2_grpc

NAME = "bench-minimal-gateway"
TIMEOUT_MS = 60_000
CREDIT_TOKENS = 256


class FrameStream:
    """One gRPC stream. Frames that arrive while a message is being written go together into the next message."""

    def __init__(self, call: Any, pack: Callable[[Sequence[Any]], Any], take: Callable[[Any], None]) -> None:
        self._call, self._pack, self._take = call, pack, take
        self._frames: list[Any] = []
        self._filled = asyncio.Event()
        self._work = [asyncio.create_task(self._write()), asyncio.create_task(self._read())]

    def put(self, frame: Any) -> None:
        """Sends a frame with the next message."""
        self._frames.append(frame)
        self._filled.set()

    async def _write(self) -> None:
        while True:
            await self._filled.wait()
            self._filled.clear()
            frames, self._frames = self._frames, []
            await self._call.write(self._pack(frames))

    async def _read(self) -> None:
        while (message := await self._call.read()) is not grpc.aio.EOF:
            self._take(message)


@dataclass(slots=True)
class PendingRequest:
    """A request that has no answer yet."""

    client: "ClientConnection"
    document: dict[str, Any]
    text: list[str] = field(default_factory=list)


class MinimalGateway:
    """Forwards requests to one router and its workers."""

    def __init__(self, router: str) -> None:
        self.ready = False
        self._numbers = count(1)
        self._pending: dict[str, PendingRequest] = {}
        self._running: dict[int, str] = {}
        self._workers: dict[str, FrameStream] = {}
        call = router_pb2_grpc.RouterServiceStub(channel(router)).Dispatch()
        self._router = FrameStream(call, lambda frames: router_pb2.DispatchRequest(frames=frames), self._read_router)
        hello = router_pb2.DispatchHello(gateway_id=NAME, session_id=NAME)
        self._router.put(router_pb2.GatewayFrame(hello=hello))

    def submit(self, client: "ClientConnection", document: dict[str, Any]) -> None:
        """Submits a request to the router. The client is answered when it has ended."""
        request_id = f"{NAME}-{next(self._numbers)}"
        self._pending[request_id] = PendingRequest(client, document)
        submit = router_pb2.Submit(
            request_id=request_id,
            attempt=1,
            pool=document["model"],
            service_class=router_pb2.SERVICE_CLASS_DEFAULT,
            tenant=NAME,
            weight=1.0,
            cost=router_pb2.Cost(prompt_tokens=1, completion_tokens=document["max_tokens"]),
            timeout_ms=TIMEOUT_MS,
        )
        self._router.put(router_pb2.GatewayFrame(submit=submit))

    def _read_router(self, message: router_pb2.DispatchResponse) -> None:
        for frame in message.frames:
            if frame.HasField("grant"):
                self._start(frame.grant)
            elif frame.HasField("catalog"):
                self.ready = any(pool.ready_workers for pool in frame.catalog.pools)

    def _start(self, grant: router_pb2.Grant) -> None:
        stream_id, document = next(self._numbers), self._pending[grant.request_id].document
        self._running[stream_id] = grant.request_id
        prompt = worker_pb2.ChatPrompt(messages_json=orjson.dumps(document["messages"]))
        start = worker_pb2.Start(
            stream_id=stream_id,
            request_id=grant.request_id,
            attempt=1,
            chat=prompt,
            sampling=worker_pb2.Sampling(max_tokens=document["max_tokens"], temperature=0.0, n=1, ignore_eos=True),
            timeout_ms=TIMEOUT_MS,
            credit_tokens=CREDIT_TOKENS,
        )
        self._worker(grant).put(worker_pb2.ServeFrame(start=start))

    def _worker(self, grant: router_pb2.Grant) -> FrameStream:
        if grant.worker_address not in self._workers:
            call = worker_pb2_grpc.WorkerServiceStub(channel(grant.worker_address)).Serve()
            stream = FrameStream(call, lambda frames: worker_pb2.ServeRequest(frames=frames), self._read_worker)
            stream.put(worker_pb2.ServeFrame(hello=worker_pb2.Hello(gateway_id=NAME, worker_epoch=grant.worker_epoch)))
            self._workers[grant.worker_address] = stream
        return self._workers[grant.worker_address]

    def _read_worker(self, message: worker_pb2.ServeResponse) -> None:
        for delta in message.deltas:
            self._pending[self._running[delta.stream_id]].text.append(delta.text)
        for ended in message.ended:
            self._end(self._running.pop(ended.stream_id), ended.usage)

    def _end(self, request_id: str, usage: worker_pb2.Usage) -> None:
        pending = self._pending.pop(request_id)
        finish = router_pb2.Finish(
            request_id=request_id,
            attempt=1,
            pool=pending.document["model"],
            outcome=router_pb2.OUTCOME_COMPLETED,
            prompt_tokens=usage.prompt_tokens,
            completion_tokens=usage.completion_tokens,
        )
        self._router.put(router_pb2.GatewayFrame(finish=finish))
        message = {"role": "assistant", "content": "".join(pending.text)}
        used = {"prompt_tokens": usage.prompt_tokens, "completion_tokens": usage.completion_tokens}
        choice = {"index": 0, "message": message, "finish_reason": "length"}
        pending.client.answer(200, orjson.dumps({"object": "chat.completion", "choices": [choice], "usage": used}))


class ClientConnection(Connection):
    """The connection of one client."""

    def __init__(self, gateway: MinimalGateway) -> None:
        super().__init__()
        self._gateway = gateway

    def requested(self, path: bytes, body: bytes) -> None:
        """Handles a request: one with a body is a chat, one without is a health check."""
        if body:
            self._gateway.submit(self, orjson.loads(body))
        else:
            self.answer(200 if self._gateway.ready else 503, b"{}")


@contextmanager
def minimal_gateway(router: str, log: Path) -> Iterator[tuple[Target, psutil.Process]]:
    """Runs a minimal gateway for the router at this address until the `with` block ends.

    Raises:
        ServerDidNotStart: It did not start.
    """
    port = free_port()
    command = [sys.executable, "-m", "loadtests.bench.minimal_gateway", str(port), router]
    with server(command, port, "/health", log, OWN_CODE) as process:
        yield Target.of(f"http://127.0.0.1:{port}/v1", KEY), process


async def _serve(port: int, router: str) -> None:
    gateway = MinimalGateway(router)
    await serve(port, lambda: ClientConnection(gateway))


if __name__ == "__main__":
    uvloop.run(_serve(int(sys.argv[1]), sys.argv[2]))
