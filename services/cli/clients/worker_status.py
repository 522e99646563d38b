"""The state of the workers, from the router."""

from collections.abc import Sequence
from itertools import zip_longest

import grpc
from pydantic import BaseModel, ConfigDict

from services.cli.clients.control import ANSWER_LIMIT_S, call, tls_of_environment
from services.cli.errors import CommandFailed
from services.shared.rpc import channel
from tidegate.router.v1 import router_pb2, router_pb2_grpc


class LoadedAdapter(BaseModel):
    """An adapter in the memory of a worker's engine."""

    model_config = ConfigDict(frozen=True)

    name: str
    version: str


class Worker(BaseModel):
    """One worker, as its last heartbeat and the router describe it."""

    model_config = ConfigDict(frozen=True)

    id: str
    pool: str
    pid: int
    address: str
    state: str
    version: str
    running: int
    slots: int
    kv_tokens_used: int
    kv_tokens: int
    kv_tokens_reserved: int
    waiting: int
    golden_prompts_proved: int | None
    heartbeat_age_ms: int
    loaded_adapters: tuple[LoadedAdapter, ...] = ()
    speculator_version: str = ""

    @classmethod
    def of(cls, status: router_pb2.WorkerStatus) -> "Worker":
        """From the proto message."""
        heartbeat = status.heartbeat
        return cls(
            id=heartbeat.worker_id,
            pool=heartbeat.pool,
            pid=heartbeat.pid,
            address=heartbeat.address,
            state=router_pb2.WorkerState.Name(heartbeat.state).removeprefix("WORKER_STATE_").lower(),
            version=heartbeat.model_version,
            running=max(heartbeat.load.running, status.granted),
            slots=heartbeat.capacity.slots,
            kv_tokens_used=heartbeat.load.kv_tokens_used,
            kv_tokens=heartbeat.capacity.kv_tokens,
            kv_tokens_reserved=status.kv_tokens_reserved,
            waiting=heartbeat.load.waiting,
            golden_prompts_proved=(
                heartbeat.golden_prompts_proved if heartbeat.HasField("golden_prompts_proved") else None
            ),
            heartbeat_age_ms=status.heartbeat_age_ms,
            loaded_adapters=_loaded_adapters(heartbeat),
            speculator_version=heartbeat.speculator_version,
        )


def _loaded_adapters(heartbeat: router_pb2.Heartbeat) -> tuple[LoadedAdapter, ...]:
    """By name. Workers of older releases do not tell the versions."""
    loaded = zip_longest(heartbeat.loaded_adapters, heartbeat.loaded_adapter_versions, fillvalue="")
    return tuple(LoadedAdapter(name=name, version=version) for name, version in sorted(loaded))


async def list_workers(routers: Sequence[str]) -> list[Worker]:
    """The workers of every pool, from the first router that answers, sorted by pool and id.

    Raises:
        CommandFailed: No router answers.
    """
    trouble = "no router is known"
    for address in routers:
        try:
            return await _workers_at(address)
        except grpc.aio.AioRpcError as error:
            trouble = f"router {address}: {error.code().name} {error.details()}"
    raise CommandFailed(f"the workers cannot be listed: {trouble}")


async def drain_worker(routers: Sequence[str], pool: str, worker_id: str, timeout_ms: int) -> None:
    """Drains a worker: it gets no new requests and stops when its running requests have ended.

    Raises:
        CommandFailed: No router answers, or the router refused.
    """
    request = router_pb2.DrainWorkerRequest(pool=pool, worker_id=worker_id, timeout_ms=timeout_ms)
    await call(routers, lambda stub: stub.DrainWorker(request, timeout=ANSWER_LIMIT_S))


async def _workers_at(address: str) -> list[Worker]:
    async with channel(address, tls_of_environment()) as opened:
        stub = router_pb2_grpc.ControlServiceStub(opened)
        response = await stub.ListWorkers(router_pb2.ListWorkersRequest(), timeout=ANSWER_LIMIT_S)
    return sorted((Worker.of(status) for status in response.workers), key=lambda worker: (worker.pool, worker.id))
