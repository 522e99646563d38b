"""The least that a gateway in Python takes: HTTP, JSON and two gRPC streams, and nothing of what a gateway is for.

No keys, no checks, no ledger, no metrics, no second try, no frameworks: below what it costs, no gateway of this make
comes. It asks a real router and real workers, for answers that are not streamed.

`python -m loadtests.bench.floor PORT ROUTER`
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

NAME = "bench-floor"
TIMEOUT_MS = 60_000
CREDIT_TOKENS = 256


class Link:
    """One stream: what comes while a message is written goes together in the next."""

    def __init__(self, call: Any, pack: Callable[[Sequence[Any]], Any], take: Callable[[Any], None]) -> None:
        self._call, self._pack, self._take = call, pack, take
        self._frames: list[Any] = []
        self._filled = asyncio.Event()
        self._work = [asyncio.create_task(self._write()), asyncio.create_task(self._read())]

    def put(self, frame: Any) -> None:
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
class Asked:
    client: "Client"
    document: dict[str, Any]
    text: list[str] = field(default_factory=list)


class Gateway:
    def __init__(self, router: str) -> None:
        self.ready = False
        self._numbers = count(1)
        self._asked: dict[str, Asked] = {}
        self._running: dict[int, str] = {}
        self._workers: dict[str, Link] = {}
        call = router_pb2_grpc.RouterServiceStub(channel(router)).Dispatch()
        self._router = Link(call, lambda frames: router_pb2.DispatchRequest(frames=frames), self._hear_router)
        hello = router_pb2.DispatchHello(gateway_id=NAME, session_id=NAME)
        self._router.put(router_pb2.GatewayFrame(hello=hello))

    def ask(self, client: "Client", document: dict[str, Any]) -> None:
        request_id = f"{NAME}-{next(self._numbers)}"
        self._asked[request_id] = Asked(client, document)
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

    def _hear_router(self, message: router_pb2.DispatchResponse) -> None:
        for frame in message.frames:
            if frame.HasField("grant"):
                self._start(frame.grant)
            elif frame.HasField("catalog"):
                self.ready = any(pool.ready_workers for pool in frame.catalog.pools)

    def _start(self, grant: router_pb2.Grant) -> None:
        stream_id, document = next(self._numbers), self._asked[grant.request_id].document
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

    def _worker(self, grant: router_pb2.Grant) -> Link:
        if grant.worker_address not in self._workers:
            call = worker_pb2_grpc.WorkerServiceStub(channel(grant.worker_address)).Serve()
            link = Link(call, lambda frames: worker_pb2.ServeRequest(frames=frames), self._hear_worker)
            link.put(worker_pb2.ServeFrame(hello=worker_pb2.Hello(gateway_id=NAME, worker_epoch=grant.worker_epoch)))
            self._workers[grant.worker_address] = link
        return self._workers[grant.worker_address]

    def _hear_worker(self, message: worker_pb2.ServeResponse) -> None:
        for delta in message.deltas:
            self._asked[self._running[delta.stream_id]].text.append(delta.text)
        for ended in message.ended:
            self._end(self._running.pop(ended.stream_id), ended.usage)

    def _end(self, request_id: str, usage: worker_pb2.Usage) -> None:
        asked = self._asked.pop(request_id)
        finish = router_pb2.Finish(
            request_id=request_id,
            attempt=1,
            pool=asked.document["model"],
            outcome=router_pb2.OUTCOME_COMPLETED,
            prompt_tokens=usage.prompt_tokens,
            completion_tokens=usage.completion_tokens,
        )
        self._router.put(router_pb2.GatewayFrame(finish=finish))
        message = {"role": "assistant", "content": "".join(asked.text)}
        used = {"prompt_tokens": usage.prompt_tokens, "completion_tokens": usage.completion_tokens}
        choice = {"index": 0, "message": message, "finish_reason": "length"}
        asked.client.answer(200, orjson.dumps({"object": "chat.completion", "choices": [choice], "usage": used}))


class Client(Connection):
    def __init__(self, gateway: Gateway) -> None:
        super().__init__()
        self._gateway = gateway

    def asked(self, path: bytes, body: bytes) -> None:
        if body:
            self._gateway.ask(self, orjson.loads(body))
        else:
            self.answer(200 if self._gateway.ready else 503, b"{}")


@contextmanager
def floor(router: str, log: Path) -> Iterator[tuple[Target, psutil.Process]]:
    """Before the router at this address. Raises DidNotStart."""
    port = free_port()
    command = [sys.executable, "-m", "loadtests.bench.floor", str(port), router]
    with server(command, port, "/health", log, OWN_CODE) as process:
        yield Target.of(f"http://127.0.0.1:{port}/v1", KEY), process


async def _serve(port: int, router: str) -> None:
    gateway = Gateway(router)
    await serve(port, lambda: Client(gateway))


if __name__ == "__main__":
    uvloop.run(_serve(int(sys.argv[1]), sys.argv[2]))
