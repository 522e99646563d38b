"""The cost of a router process: requests are granted and finished over gRPC, and the CPU time is measured."""

import asyncio
import os
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from time import perf_counter

import grpc
import psutil
from pydantic import BaseModel

from loadtests.redis_server import RedisServer, free_port
from services.shared.rpc import channel
from tidegate.router.v1 import router_pb2 as pb
from tidegate.router.v1.router_pb2_grpc import RouterServiceStub

SLOTS = 4096
IN_FLIGHT = 256
START_S = 30.0
WARM_UP_PAIRS = 2_000
HEARTBEAT_S = 0.5
CONFIG = "pools:\n  - {name: bench, model: bench, engine: {kind: simulated}, placement: %s}\n"


class ProcessFigures(BaseModel):
    """Figures of one run. A pair is one request: its Submit, its Grant and its Finish. CPU is in seconds."""

    policy: str
    blocks: int
    pairs: int
    seconds: float
    router_cpu_s: float
    redis_cpu_s: float

    @property
    def per_router_core(self) -> float:
        """Requests a second that one core of the router could serve."""
        return self.pairs / self.router_cpu_s

    @property
    def per_second(self) -> float:
        """Requests a second."""
        return self.pairs / self.seconds


async def measure(server: RedisServer, policy: str, *, blocks: int, pairs: int) -> ProcessFigures:
    """Measures `pairs` requests with prompts of `blocks` hashed blocks. Empties the server."""
    server.client.flushall()
    with _router(server.url, policy) as (address, router):
        async with channel(address) as connection, _worker(connection), _Gateway.on(connection, blocks) as gateway:
            await gateway.pass_through(WARM_UP_PAIRS)
            before = (_cpu_s(router), server.cpu_s, perf_counter())
            await gateway.pass_through(pairs)
            after = (_cpu_s(router), server.cpu_s, perf_counter())
    router_s, redis_s, seconds = (then - now for now, then in zip(before, after, strict=True))
    return ProcessFigures(
        policy=policy, blocks=blocks, pairs=pairs, seconds=seconds, router_cpu_s=router_s, redis_cpu_s=redis_s
    )


def _cpu_s(process: psutil.Process) -> float:
    times = process.cpu_times()
    return float(times.user + times.system)


@contextmanager
def _router(redis_url: str, policy: str) -> Iterator[tuple[str, psutil.Process]]:
    address = f"127.0.0.1:{free_port()}"
    with TemporaryDirectory(prefix="tidegate-bench-") as folder:
        config = Path(folder) / "tidegate.yaml"
        config.write_text(CONFIG % policy)
        environment = {
            "TIDEGATE_CONFIG": str(config),
            "TIDEGATE_LISTEN": address,
            "TIDEGATE_HTTP_LISTEN": f"127.0.0.1:{free_port()}",
            "TIDEGATE_REDIS_URL": redis_url,
            "TIDEGATE_LOG_LEVEL": "ERROR",
        }
        process = subprocess.Popen([sys.executable, "-m", "services.router"], env={**os.environ, **environment})
        try:
            yield address, psutil.Process(process.pid)
        finally:
            process.terminate()
            process.wait(10)


@asynccontextmanager
async def _worker(connection: grpc.aio.Channel) -> AsyncIterator[None]:
    """One worker with a slot for every request."""
    beat = pb.Heartbeat(
        worker_id="worker",
        epoch=1,
        pool="bench",
        address="127.0.0.1:1",
        state=pb.WORKER_STATE_READY,
        model_version="v1",
        context_tokens=4096,
        capacity=pb.Capacity(slots=SLOTS, kv_tokens=10**9),
    )
    stream = RouterServiceStub(connection).Attach(wait_for_ready=True, timeout=None)
    await stream.write(pb.AttachRequest(heartbeat=beat))
    async with asyncio.timeout(START_S):
        await stream.read()

    async def keep_on() -> None:
        while True:
            await asyncio.sleep(HEARTBEAT_S)
            await stream.write(pb.AttachRequest(heartbeat=beat))

    beats = asyncio.create_task(keep_on())
    try:
        yield
    finally:
        beats.cancel()
        stream.cancel()


ANSWERS = ("grant", "reject", "revoke")


class _Gateway:
    """Keeps IN_FLIGHT requests between Submit and Grant, and finishes each as it is granted."""

    def __init__(self, stream: object, blocks: int) -> None:
        self._stream = stream
        self._hashes = list(range(1, blocks + 1))
        self._sent = 0

    @classmethod
    @asynccontextmanager
    async def on(cls, connection: grpc.aio.Channel, blocks: int) -> AsyncIterator["_Gateway"]:
        stream = RouterServiceStub(connection).Dispatch(wait_for_ready=True)
        hello = pb.DispatchHello(gateway_id="bench", session_id="bench")
        await stream.write(pb.DispatchRequest(frames=[pb.GatewayFrame(hello=hello)]))
        yield cls(stream, blocks)
        stream.cancel()

    async def pass_through(self, pairs: int) -> None:
        last = self._sent + pairs
        await self._send([self._submit() for _ in range(min(IN_FLIGHT, pairs))])
        done = 0
        while done < pairs:
            answers = await self._stream.read()  # type: ignore[attr-defined]
            grants = [_granted(frame) for frame in answers.frames if frame.WhichOneof("frame") in ANSWERS]
            done += len(grants)
            more = [self._submit() for _ in range(min(len(grants), last - self._sent))]
            await self._send([*map(_finish, grants), *more])

    async def _send(self, frames: list[pb.GatewayFrame]) -> None:
        """Sends all frames in one message, as a gateway does."""
        if frames:
            await self._stream.write(pb.DispatchRequest(frames=frames))  # type: ignore[attr-defined]

    def _submit(self) -> pb.GatewayFrame:
        self._sent += 1
        submit = pb.Submit(
            request_id=f"chatcmpl-{self._sent:032x}",
            attempt=1,
            pool="bench",
            service_class=pb.SERVICE_CLASS_DEFAULT,
            tenant=f"tenant-{self._sent % 50}",
            cost=pb.Cost(prompt_tokens=400, completion_tokens=100),
            # The first half is a system prompt that all share.
            block_hashes=[h if 2 * h <= len(self._hashes) else h * self._sent for h in self._hashes],
            block_tokens=64,
        )
        return pb.GatewayFrame(submit=submit)


def _granted(frame: pb.RouterFrame) -> pb.Grant:
    if frame.WhichOneof("frame") != "grant":
        raise RuntimeError(f"the router did not grant: {frame}")
    return frame.grant


def _finish(grant: pb.Grant) -> pb.GatewayFrame:
    finish = pb.Finish(
        request_id=grant.request_id,
        attempt=1,
        pool="bench",
        outcome=pb.OUTCOME_COMPLETED,
        prompt_tokens=400,
        completion_tokens=50,
    )
    return pb.GatewayFrame(finish=finish)
