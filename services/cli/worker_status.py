"""What the router says of the workers."""

from collections.abc import Sequence

import grpc
from pydantic import BaseModel, ConfigDict

from services.cli.control_client import ASK_LIMIT_S, ask
from services.cli.errors import CommandFailed
from services.shared.rpc import channel
from tidegate.router.v1 import router_pb2, router_pb2_grpc


class Worker(BaseModel):
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
    heartbeat_age_ms: int

    @classmethod
    def of(cls, status: router_pb2.WorkerStatus) -> "Worker":
        beat = status.heartbeat
        return cls(
            id=beat.worker_id,
            pool=beat.pool,
            pid=beat.pid,
            address=beat.address,
            state=router_pb2.WorkerState.Name(beat.state).removeprefix("WORKER_STATE_").lower(),
            version=beat.model_version,
            running=max(beat.load.running, status.granted),
            slots=beat.capacity.slots,
            kv_tokens_used=beat.load.kv_tokens_used,
            kv_tokens=beat.capacity.kv_tokens,
            kv_tokens_reserved=status.kv_tokens_reserved,
            waiting=beat.load.waiting,
            heartbeat_age_ms=status.heartbeat_age_ms,
        )


async def list_workers(routers: Sequence[str]) -> list[Worker]:
    """Of the first router that answers. Raises CommandFailed when none does."""
    trouble = "no router is known"
    for address in routers:
        try:
            return await _ask(address)
        except grpc.aio.AioRpcError as error:
            trouble = f"router {address}: {error.code().name} {error.details()}"
    raise CommandFailed(f"the workers cannot be listed: {trouble}")


async def drain_worker(routers: Sequence[str], pool: str, worker_id: str, timeout_ms: int) -> None:
    """Raises CommandFailed."""
    request = router_pb2.DrainWorkerRequest(pool=pool, worker_id=worker_id, timeout_ms=timeout_ms)
    await ask(routers, lambda stub: stub.DrainWorker(request, timeout=ASK_LIMIT_S))


async def ready_workers(routers: Sequence[str]) -> set[str]:
    """Ids of those that every router counts as ready; none while a router does not answer."""
    try:
        views = [await _ask(address) for address in routers]
    except grpc.aio.AioRpcError:
        return set()
    return set.intersection(*({worker.id for worker in view if worker.state == "ready"} for view in views))


async def _ask(address: str) -> list[Worker]:
    async with channel(address) as opened:
        stub = router_pb2_grpc.ControlServiceStub(opened)
        answer = await stub.ListWorkers(router_pb2.ListWorkersRequest(), timeout=ASK_LIMIT_S)
    return sorted((Worker.of(status) for status in answer.workers), key=lambda worker: (worker.pool, worker.id))
